package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/objstore"
)

// cleanUpTimeout bounds the removal of parts that no manifest will name.
const cleanUpTimeout = 10 * time.Second

// WriteSnapshot stores what encode writes, in parts, then the manifest, and
// returns it; info.Parts is ignored. That a snapshot of the same slot exists
// already is no error: the one that was first stays, and is returned. If that
// one names another entry it is ErrSnapshotDiffers.
//
// It holds one part in memory. Requests are repeated; a part that fails for good
// ends it. When ctx ends before the manifest is settled the error wraps
// ErrUnsettled, and the snapshot may be complete or become so.
func (j *Journal) WriteSnapshot(ctx context.Context, info SnapshotInfo, encode func(yield func(chunk []byte) error) error) (SnapshotInfo, error) {
	if err := info.checkClaims(); err != nil {
		return SnapshotInfo{}, fmt.Errorf("%w: snapshot of slot %d: %w", ErrInvalidEntry, info.Slot, err)
	}
	stored, result, err := j.writeSnapshot(ctx, info, encode)
	j.metrics.snapshots.WithLabelValues(result).Inc()
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("write snapshot of slot %d: %w", info.Slot, err)
	}
	j.metrics.snapshotSize.Set(float64(stored.Bytes()))
	return stored, nil
}

func (j *Journal) writeSnapshot(ctx context.Context, info SnapshotInfo, encode func(yield func(chunk []byte) error) error) (SnapshotInfo, string, error) {
	w := partWriter{ctx: ctx, j: j, slot: info.Slot}
	_, _ = rand.Read(w.id[:])
	err := encode(w.write)
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		j.dropParts(ctx, w.parts, SnapshotInfo{})
		return SnapshotInfo{}, resultFailed, err
	}
	info.Parts = w.parts
	return j.settleManifest(ctx, info, w.id)
}

// settleManifest puts the manifest, once. Parts are dropped only after another
// manifest was seen in its place: as long as ours may land they are needed.
func (j *Journal) settleManifest(ctx context.Context, info SnapshotInfo, id partID) (SnapshotInfo, string, error) {
	body := appendManifest(nil, info, id)
	var found SnapshotInfo
	s := settlement{
		j: j, key: j.keys.manifest(info.Slot), body: body,
		readBack: func(b []byte) (ours bool, err error) {
			found, _, err = decodeManifest(j.keys, info.Slot, b)
			return bytes.Equal(b, body), err
		},
	}
	failpoint.Hit("journal/before-manifest")
	won, err := s.run(ctx)
	failpoint.Hit("journal/after-manifest")
	switch {
	case err != nil && !s.inDoubt:
		j.dropParts(ctx, info.Parts, SnapshotInfo{})
		return SnapshotInfo{}, resultNotWritten, fmt.Errorf("%w: %w", ErrNotWritten, err)
	case err != nil:
		return SnapshotInfo{}, resultUnsettled, fmt.Errorf("%w: %w", ErrUnsettled, err)
	case won:
		return info, resultCommitted, nil
	}
	j.dropParts(ctx, info.Parts, found)
	if found.Nonce != info.Nonce {
		return SnapshotInfo{}, resultTaken, ErrSnapshotDiffers
	}
	return found, resultTaken, nil
}

// dropParts deletes the parts that kept does not name. What it leaves behind the
// next Prune removes, so its errors are of no interest to the caller.
func (j *Journal) dropParts(ctx context.Context, parts []PartInfo, kept SnapshotInfo) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	var dropped []string
	for _, p := range parts {
		if !slices.ContainsFunc(kept.Parts, func(k PartInfo) bool { return k.Key == p.Key }) {
			dropped = append(dropped, p.Key)
		}
	}
	if _, err := j.deleteAll(ctx, objectPart, dropped); err != nil {
		j.logger.Info("parts of a snapshot that is not used are left for later", "err", err)
	}
}

// partWriter cuts a stream of chunks into parts and stores each.
type partWriter struct {
	ctx   context.Context // of the one call of WriteSnapshot that this serves
	j     *Journal
	slot  Slot
	id    partID
	buf   []byte
	parts []PartInfo
}

func (w *partWriter) write(chunk []byte) error {
	for len(chunk) > 0 {
		n := min(len(chunk), w.j.cfg.PartBytes-len(w.buf))
		w.buf = append(w.buf, chunk[:n]...)
		chunk = chunk[n:]
		if len(w.buf) == w.j.cfg.PartBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush stores what is buffered as the next part. The key is ours alone, so a
// PUT may be repeated whatever became of the one before.
func (w *partWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if len(w.parts) == snapshotPartsMax {
		return fmt.Errorf("more than %d parts of %d bytes", snapshotPartsMax, w.j.cfg.PartBytes)
	}
	part := PartInfo{
		Key: w.j.keys.part(w.slot, w.id, len(w.parts)), Len: int64(len(w.buf)), CRC: crc32.Checksum(w.buf, castagnoli),
	}
	// Named before it is sent, so that it is dropped if the snapshot fails.
	w.parts = append(w.parts, part)
	failpoint.Hit("journal/before-part")
	attempts := 0
	err := w.j.repeat(w.ctx, len(w.buf), snapshotAttemptsMax, func(ctx context.Context) error {
		attempts++
		receipt, err := w.j.bucket.Put(ctx, part.Key, w.buf)
		w.j.observeDate(receipt.Date)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", part.Key, err)
	}
	if w.buf = w.buf[:0]; attempts > 1 {
		// A request that was given up may still be reading the old buffer.
		w.buf = nil
	}
	return nil
}

// Snapshots returns the slots of all complete snapshots, ascending. Only the
// newest two are to be relied on.
func (j *Journal) Snapshots(ctx context.Context) ([]Slot, error) {
	var slots []Slot
	err := j.listSlots(ctx, j.keys.manifests, "", objstore.ListPageMax, func(s SlotInfo) bool {
		slots = append(slots, s.Slot)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return slots, nil
}

// Snapshot returns the manifest of the snapshot of a slot, or ErrNoSnapshot.
func (j *Journal) Snapshot(ctx context.Context, slot Slot) (SnapshotInfo, error) {
	var info SnapshotInfo
	err := j.get(ctx, j.keys.manifest(slot), 0, func(body []byte) (err error) {
		info, _, err = decodeManifest(j.keys, slot, body)
		return err
	})
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return SnapshotInfo{}, fmt.Errorf("read manifest of slot %d: %w", slot, ErrNoSnapshot)
	case err != nil:
		return SnapshotInfo{}, fmt.Errorf("read manifest of slot %d: %w", slot, err)
	}
	return info, nil
}

// LatestSnapshot returns the newest manifest, or ErrNoSnapshot.
func (j *Journal) LatestSnapshot(ctx context.Context) (SnapshotInfo, error) {
	for attempts := 1; ; attempts++ {
		slots, err := j.Snapshots(ctx)
		if err != nil {
			return SnapshotInfo{}, err
		}
		if len(slots) == 0 {
			return SnapshotInfo{}, ErrNoSnapshot
		}
		info, err := j.Snapshot(ctx, slots[len(slots)-1])
		if errors.Is(err, ErrNoSnapshot) && attempts < readAttemptsMax {
			continue // two newer ones were written since the listing
		}
		return info, err
	}
}

// ReadSnapshot passes the snapshot's parts to decode in order, each checked
// against its length and CRC; a *CorruptError if that fails or a part is
// missing. decode may keep what it is given. ErrSnapshotGone if the snapshot was
// deleted meanwhile: there are newer ones. While a part is decoded the next are on
// their way, partsAheadMax of them.
func (j *Journal) ReadSnapshot(ctx context.Context, info SnapshotInfo, decode func(part []byte) error) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	reads := make([]partRead, len(info.Parts))
	begun := 0
	for i, part := range info.Parts {
		for ; begun < len(reads) && begun <= i+partsAheadMax; begun++ {
			read, part := &reads[begun], info.Parts[begun]
			read.done = make(chan struct{})
			tasks.Go(func() {
				defer close(read.done)
				read.body, read.err = j.readPart(ctx, part)
			})
		}
		<-reads[i].done // it ends with ctx at the latest
		body, err := reads[i].body, reads[i].err
		reads[i].body = nil
		if errors.Is(err, objstore.ErrNotFound) {
			err = j.explainMissingPart(ctx, info, part)
		}
		if err == nil {
			err = decode(body)
		}
		if err != nil {
			return fmt.Errorf("read snapshot of slot %d: %w", info.Slot, err)
		}
	}
	return nil
}

// partRead is a part on its way.
type partRead struct {
	done chan struct{} // closed when body or err is set
	body []byte
	err  error
}

func (j *Journal) readPart(ctx context.Context, part PartInfo) ([]byte, error) {
	var body []byte
	err := j.get(ctx, part.Key, int(part.Len), func(b []byte) error {
		if body = b; int64(len(b)) != part.Len {
			return fmt.Errorf("%d bytes instead of %d", len(b), part.Len)
		}
		if crc32.Checksum(b, castagnoli) != part.CRC {
			return errCRC
		}
		return nil
	})
	return body, err
}

// snapshotsKept is how many snapshots are kept, the newest ones.
const snapshotsKept = 2

// explainMissingPart tells a snapshot that was deleted from one that is damaged:
// parts are deleted only below two newer snapshots. That the manifest is there
// says nothing, since a PUT of it may have landed again after it was deleted.
func (j *Journal) explainMissingPart(ctx context.Context, info SnapshotInfo, part PartInfo) error {
	slots, err := j.Snapshots(ctx)
	if err != nil {
		return err
	}
	if len(slots) >= snapshotsKept && slots[len(slots)-snapshotsKept] > info.Slot {
		return ErrSnapshotGone
	}
	return &CorruptError{Key: part.Key, Err: objstore.ErrNotFound}
}
