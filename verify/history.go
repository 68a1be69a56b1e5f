package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
)

// history is the catalog as the journal tells it.
type history struct {
	replay *catalog.Replay // nil if nothing was there to begin with
	whole  bool            // it was followed to the end of the journal
}

// errMoved says that newer snapshots came, and what they made superfluous went,
// while it was read.
var errMoved = errors.New("the journal was pruned while it was read")

// readHistory checks all objects of the journal. It begins anew when nodes
// deleted what it was about to read; what it found until then is forgotten.
func (v *Verifier) readHistory(ctx context.Context) (history, error) {
	for attempt := 1; ; attempt++ {
		listed, err := v.journal.Inventory(ctx)
		if err != nil {
			return history{}, err
		}
		if len(listed.Slots)+len(listed.Manifests)+len(listed.Parts) == 0 {
			v.noJournal = true
			return history{}, nil
		}
		p := historyPass{v: v, listed: listed}
		h, err := p.run(ctx)
		if errors.Is(err, errMoved) && attempt < reloadsMax {
			v.logger.Info("the journal was pruned while it was read; once more from the newest snapshots")
			continue
		}
		if err != nil {
			return history{}, err
		}
		for _, f := range p.findings {
			v.found(f)
		}
		v.count(func(s *Summary) {
			s.Entries, s.Snapshots, s.End = p.entries, p.snapshots, uint64(p.last())
			if h.replay != nil {
				s.Slot, s.Time = uint64(h.replay.Last()), h.replay.State().Time()
			}
		})
		return h, nil
	}
}

// historyPass goes through the journal once.
type historyPass struct {
	v        *Verifier
	listed   journal.Inventory
	kept     []*storedSnapshot // the newest two, ascending by slot
	findings []Finding
	entries  int64
	// snapshots that were read whole
	snapshots int64
}

// storedSnapshot is a snapshot of the store, as far as it can be read.
type storedSnapshot struct {
	slot   journal.Slot
	info   journal.SnapshotInfo
	intact bool // manifest and parts decode
	digest [sha256.Size]byte
}

// keptSnapshots is how many snapshots a journal is to be relied on for.
const keptSnapshots = 2

func (p *historyPass) run(ctx context.Context) (history, error) {
	if err := p.readManifests(ctx); err != nil {
		return history{}, err
	}
	p.noteStrayObjects()
	p.checkTwoSnapshots()
	for _, s := range p.kept {
		if _, err := p.readSnapshot(ctx, s); err != nil {
			return history{}, err
		}
	}
	h, err := p.replay(ctx)
	if err != nil {
		return history{}, err
	}
	return h, nil
}

func (p *historyPass) damage(key, region string, size int64, format string, args ...any) {
	p.findings = append(p.findings, Finding{
		Class: Damage, Key: key, Region: region, Len: size, Reason: fmt.Sprintf(format, args...),
	})
}

// readManifests reads all manifests; those of the newest two snapshots are kept.
func (p *historyPass) readManifests(ctx context.Context) error {
	for i, slot := range p.listed.Manifests {
		info, err := p.v.journal.Snapshot(ctx, slot)
		key := p.v.journal.ManifestKey(slot)
		kept := i >= len(p.listed.Manifests)-keptSnapshots
		switch {
		case errors.Is(err, journal.ErrNoSnapshot):
			if moved, err := p.prunedBelow(ctx, slot); moved || err != nil {
				return errors.Join(err, errMoved)
			}
			p.damage(key, regionManifest, 0, "it was listed, and is gone without two newer ones")
		case isCorrupt(err):
			p.damage(key, regionManifest, 0, "%v", causeOf(err))
		case err != nil:
			return err
		case !kept:
			p.findings = append(p.findings, Finding{Class: Leftover, Key: key, Reason: "manifest of an older snapshot"})
		}
		if kept {
			p.kept = append(p.kept, &storedSnapshot{slot: slot, info: info, intact: err == nil})
		}
	}
	return nil
}

// noteStrayObjects lists what no snapshot names, and what is not the journal's.
func (p *historyPass) noteStrayObjects() {
	named := map[string]bool{}
	for _, s := range p.kept {
		for _, part := range s.info.Parts {
			named[part.Key] = true
		}
	}
	for _, part := range p.listed.Parts {
		if !named[part.Key] {
			p.findings = append(p.findings, Finding{
				Class: Leftover, Key: part.Key, Size: part.Size, AgeMs: ageOf(part.ObjectInfo), Reason: "part of no snapshot that is kept",
			})
		}
	}
	for _, o := range p.listed.Foreign {
		p.findings = append(p.findings, Finding{Class: Foreign, Key: o.Key, Size: o.Size, AgeMs: ageOf(o)})
	}
}

// checkTwoSnapshots reports a manifest that is missing: entries are deleted only
// below the older of two snapshots. A rebuilt journal begins with one, and a
// claim in its slot.
func (p *historyPass) checkTwoSnapshots() {
	if len(p.kept) != 1 || p.fromGenesis() {
		return
	}
	only := p.kept[0]
	if only.intact && slices.Equal(only.info.Claims, []journal.Slot{only.slot}) {
		return
	}
	var missing journal.Slot // that of which there are parts, if there are any
	for _, part := range p.listed.Parts {
		if part.Slot != only.slot {
			missing = part.Slot
		}
	}
	p.damage(p.v.journal.ManifestKey(missing), regionManifest, 0, "entries were deleted, and there is only one snapshot of the two that there must be then")
}

func ageOf(o objstore.ObjectInfo) int64 {
	if o.Modified.IsZero() {
		return 0
	}
	return max(0, time.Since(o.Modified).Milliseconds())
}

// readSnapshot reads and decodes a snapshot, notes its digest, and returns what
// it holds; nil if it is damaged.
func (p *historyPass) readSnapshot(ctx context.Context, s *storedSnapshot) (*catalog.State, error) {
	if !s.intact {
		return nil, nil
	}
	hash := sha256.New()
	var readErr error
	state, err := catalog.VerifySnapshot(s.info, func(decode func([]byte) error) error {
		readErr = p.v.journal.ReadSnapshot(ctx, s.info, func(part []byte) error {
			hash.Write(part)
			return decode(part)
		})
		return readErr
	})
	if err == nil {
		p.snapshots++
		s.digest = [sha256.Size]byte(hash.Sum(nil))
		return state, nil
	}
	s.intact = false
	corrupt := (*journal.CorruptError)(nil)
	switch {
	case errors.Is(err, catalog.ErrNewerSnapshot), errors.Is(err, catalog.ErrNewerLevel):
		return nil, err
	case errors.Is(err, journal.ErrSnapshotGone):
		return nil, errMoved
	case errors.As(err, &corrupt):
		reason := "%v"
		if errors.Is(corrupt.Err, objstore.ErrNotFound) {
			reason = "part of a snapshot is missing: %v"
		}
		p.damage(corrupt.Key, regionPart, 0, reason, corrupt.Err)
	case readErr != nil && !isDecodeError(readErr):
		return nil, readErr
	default:
		p.damage(p.v.journal.ManifestKey(s.slot), regionObject, 0, "the snapshot does not hold a catalog: %v", err)
	}
	return nil, nil
}

// isDecodeError tells whether an error is the catalog's, about bytes whose CRC is right.
func isDecodeError(err error) bool {
	corrupt, broken := (*catalog.CorruptError)(nil), (*catalog.InvariantError)(nil)
	return errors.As(err, &corrupt) || errors.As(err, &broken)
}

func isCorrupt(err error) bool {
	corrupt := (*journal.CorruptError)(nil)
	return errors.As(err, &corrupt)
}

// causeOf is what is wrong with a corrupt object, without its key.
func causeOf(err error) error {
	if corrupt := (*journal.CorruptError)(nil); errors.As(err, &corrupt) {
		return corrupt.Err
	}
	return err
}

// prunedBelow tells whether a slot is below the older of two snapshots now, so
// that what belongs to it may have been deleted.
func (p *historyPass) prunedBelow(ctx context.Context, slot journal.Slot) (bool, error) {
	slots, err := p.v.journal.Snapshots(ctx)
	if err != nil {
		return false, err
	}
	return len(slots) >= keptSnapshots && slots[len(slots)-keptSnapshots] > slot, nil
}

// base is where a replay can begin: at the genesis if all entries since are
// there, else at the older snapshot that can be read.
func (p *historyPass) base(ctx context.Context) (*catalog.Replay, error) {
	if p.fromGenesis() {
		entry, err := p.v.journal.Read(ctx, 0)
		var replay *catalog.Replay
		if err == nil { // it is counted in checkBelow
			replay, err = catalog.ReplayFromGenesis(&entry)
		}
		if diverged := (*catalog.DivergedError)(nil); isCorrupt(err) || errors.As(err, &diverged) || errors.Is(err, journal.ErrNoEntry) {
			p.damage(p.v.journal.SlotKey(0), regionEntry, 0, "%v", causeOf(err))
			return p.nextBase(ctx, 0)
		}
		return replay, err
	}
	return p.nextBase(ctx, 0)
}

// fromGenesis tells whether no entry up to the oldest snapshot is missing.
func (p *historyPass) fromGenesis() bool {
	upto := 0
	if len(p.kept) > 0 {
		upto = int(p.kept[0].slot)
	}
	return len(p.listed.Slots) > upto && p.listed.Slots[upto] == journal.Slot(upto)
}

// nextBase begins with the first snapshot from slot on that can be read, if there is any.
func (p *historyPass) nextBase(ctx context.Context, slot journal.Slot) (*catalog.Replay, error) {
	for _, s := range p.kept {
		if s.slot < slot || !s.intact {
			continue
		}
		p.snapshots-- // it was counted before
		state, err := p.readSnapshot(ctx, s)
		if err != nil {
			return nil, err
		}
		if state != nil {
			return catalog.ReplayFromSnapshot(s.info, state), nil
		}
	}
	return nil, nil
}

// replay checks every entry: those that follow the base by applying them, those
// below it by themselves.
func (p *historyPass) replay(ctx context.Context) (history, error) {
	r, err := p.base(ctx)
	if err != nil {
		return history{}, err
	}
	var next journal.Slot // entries below it were checked
	if r == nil {
		p.damage(p.v.journal.SlotKey(0), regionEntry, 0, "no snapshot can be read, and not all entries since slot 0 are there")
	} else {
		if err := p.checkBelow(ctx, r); err != nil {
			return history{}, err
		}
	}
	var furthest *catalog.Replay
	for r != nil {
		furthest = r
		broken, err := p.follow(ctx, r)
		if err != nil {
			return history{}, err
		}
		if broken == 0 {
			return history{replay: r, whole: true}, nil
		}
		next = broken + 1
		if r, err = p.nextBase(ctx, broken); err != nil {
			return history{}, err
		}
		if r != nil {
			if err := p.checkAlone(ctx, next, r.Last()); err != nil {
				return history{}, err
			}
		}
	}
	return history{replay: furthest}, p.checkAlone(ctx, next, p.last())
}

// last is the newest slot of which something tells.
func (p *historyPass) last() journal.Slot {
	var last journal.Slot
	for _, slots := range [][]journal.Slot{p.listed.Slots, p.listed.Manifests} {
		if n := len(slots); n > 0 {
			last = max(last, slots[n-1])
		}
	}
	return last
}

// follow applies what follows r up to the last slot, and returns
// the slot at which that was not possible, 0 if there is none.
func (p *historyPass) follow(ctx context.Context, r *catalog.Replay) (broken journal.Slot, err error) {
	if err := p.compare(r); err != nil {
		return 0, err
	}
	for last := p.last(); r.Last() < last; {
		upto := min(last, r.Last()+slotsAhead)
		for _, s := range p.kept { // stop where there is something to compare
			if s.slot > r.Last() {
				upto = min(upto, s.slot)
			}
		}
		entries, broken, err := p.readEntries(ctx, r.Last()+1, upto)
		if err != nil {
			return 0, err
		}
		if refused, err := p.apply(ctx, r, entries); refused != 0 || err != nil {
			return refused, err
		}
		if broken != 0 {
			return broken, nil
		}
		if err := p.compare(r); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// readEntries reads the entries of the slots from and upto, both included. They
// end before the first that is damaged or missing, which it returns, 0 if none is.
func (p *historyPass) readEntries(ctx context.Context, from, upto journal.Slot) (entries []journal.Entry, broken journal.Slot, err error) {
	n := int(upto - from + 1)
	entries, errs := make([]journal.Entry, n), make([]error, n)
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			entries[i], errs[i] = p.v.journal.Read(ctx, from+journal.Slot(i))
			return nil
		})
	}
	_ = group.Wait()
	good := n
	for i, err := range errs {
		if err == nil {
			p.entries++
			continue
		}
		if err := p.judge(ctx, from+journal.Slot(i), err); err != nil {
			return nil, 0, err
		}
		good = min(good, i)
	}
	if good < n {
		return entries[:good], from + journal.Slot(good), nil
	}
	return entries, 0, nil
}

// judge reports an entry that could not be read. It returns what is no finding.
func (p *historyPass) judge(ctx context.Context, slot journal.Slot, err error) error {
	switch {
	case errors.Is(err, journal.ErrNoEntry):
		if moved, err := p.prunedBelow(ctx, slot); moved || err != nil {
			return errors.Join(err, errMoved)
		}
		p.damage(p.v.journal.SlotKey(slot), regionEntry, 0, "the entry is missing")
	case isCorrupt(err):
		p.damage(p.v.journal.SlotKey(slot), regionEntry, 0, "%v", causeOf(err))
	default:
		return err
	}
	return nil
}

// apply carries out entries, and reports the one with which that does not work.
func (p *historyPass) apply(ctx context.Context, r *catalog.Replay, entries []journal.Entry) (refused journal.Slot, err error) {
	if err = r.Apply(entries); err == nil {
		return 0, nil
	}
	for i := range entries { // which one?
		if err = r.Apply(entries[i : i+1]); err == nil {
			continue
		}
		slot := entries[i].Slot
		switch {
		case errors.Is(err, catalog.ErrNewerLevel), errors.Is(err, catalog.ErrNewerEdit):
			return 0, err
		case errors.Is(err, catalog.ErrLostPlace):
			if moved, err := p.prunedBelow(ctx, slot-1); moved || err != nil {
				return 0, errors.Join(err, errMoved)
			}
			p.damage(p.v.journal.SlotKey(slot), regionEntry, 0, "it names another entry as the one before it than that in slot %d", slot-1)
		default:
			p.damage(p.v.journal.SlotKey(slot), regionEntry, 0, "%v", err)
		}
		return slot, nil
	}
	return 0, err
}

// compare holds a snapshot of the slot that r has come to against it.
func (p *historyPass) compare(r *catalog.Replay) error {
	for _, s := range p.kept {
		if s.slot != r.Last() || !s.intact {
			continue
		}
		own := r.Info()
		key := p.v.journal.ManifestKey(s.slot)
		if own.Nonce != s.info.Nonce || own.Epoch != s.info.Epoch || own.Time != s.info.Time ||
			own.Level != s.info.Level || !slices.Equal(own.Claims, s.info.Claims) {
			p.damage(key, regionManifest, 0, "nonce, epoch, time, level or claims are not those of the journal at its slot")
		}
		hash := sha256.New()
		if err := r.State().Encode(func(chunk []byte) error { hash.Write(chunk); return nil }); err != nil {
			return err
		}
		if [sha256.Size]byte(hash.Sum(nil)) != s.digest {
			p.damage(key, regionObject, 0, "the snapshot is not what the journal's entries come to")
		}
	}
	return nil
}

// checkBelow checks the entries up to the base of a replay. Slot 0, the claims
// and the entry of the base itself are never deleted; others are about to be.
func (p *historyPass) checkBelow(ctx context.Context, r *catalog.Replay) error {
	info, clusterID := r.Info(), r.State().ClusterID()
	lasting := append([]journal.Slot{0, info.Slot}, info.Claims...)
	slices.Sort(lasting)
	lasting = slices.Compact(lasting)
	judge := func(ctx context.Context, slot journal.Slot, err error) error {
		if _, claimed := slices.BinarySearch(info.Claims, slot); errors.Is(err, journal.ErrNoEntry) && (claimed || slot == 0) {
			p.damage(p.v.journal.SlotKey(slot), regionEntry, 0, "the entry is missing, which is never deleted")
			return nil
		}
		return p.judge(ctx, slot, err)
	}
	err := p.readAlone(ctx, lasting, judge, func(e journal.Entry) {
		key := p.v.journal.SlotKey(e.Slot)
		_, claimed := slices.BinarySearch(info.Claims, e.Slot)
		switch {
		case claimed && e.Kind != journal.Claim:
			p.damage(key, regionEntry, 0, "it is of kind %v, and the snapshot of slot %d counts on a claim", e.Kind, info.Slot)
		case e.Slot == 0 && !bytes.Equal(e.Payload, clusterID[:]):
			p.damage(key, regionEntry, 0, "it holds the id of another cluster")
		case e.Slot == info.Slot && e.Nonce != info.Nonce:
			p.damage(key, regionEntry, 0, "it is another entry than that of which there is a snapshot")
		}
	})
	if err != nil {
		return err
	}
	var others []journal.Slot
	for _, slot := range p.listed.Slots {
		if _, ok := slices.BinarySearch(lasting, slot); !ok && slot < info.Slot {
			others = append(others, slot)
		}
	}
	judge = func(ctx context.Context, slot journal.Slot, err error) error {
		if errors.Is(err, journal.ErrNoEntry) {
			return nil // it was deleted since it was listed
		}
		return p.judge(ctx, slot, err)
	}
	// Those right below are kept for replicas that slept.
	kept := len(others)
	for kept > 0 && others[kept-1] == info.Slot-journal.Slot(len(others)-kept)-1 {
		kept--
	}
	return p.readAlone(ctx, others, judge, func(e journal.Entry) {
		if kept < len(others) && e.Slot >= others[kept] {
			return
		}
		p.findings = append(p.findings, Finding{Class: Leftover, Key: p.v.journal.SlotKey(e.Slot), Reason: "entry below the snapshots"})
	})
}

// checkAlone reads the listed entries from slot from to slot upto, both included,
// which no replay can carry out.
func (p *historyPass) checkAlone(ctx context.Context, from, upto journal.Slot) error {
	var slots []journal.Slot
	for _, slot := range p.listed.Slots {
		if slot >= from && slot <= upto {
			slots = append(slots, slot)
		}
	}
	return p.readAlone(ctx, slots, p.judge, func(journal.Entry) {})
}

// readAlone reads entries, a few at a time, and passes on those that decode.
func (p *historyPass) readAlone(ctx context.Context, slots []journal.Slot,
	judge func(context.Context, journal.Slot, error) error, each func(journal.Entry)) error {
	for batch := range slices.Chunk(slots, slotsAhead) {
		entries, errs := make([]journal.Entry, len(batch)), make([]error, len(batch))
		var group errgroup.Group
		for i, slot := range batch {
			group.Go(func() error {
				entries[i], errs[i] = p.v.journal.Read(ctx, slot)
				return nil
			})
		}
		_ = group.Wait()
		for i, err := range errs {
			if err != nil {
				err = judge(ctx, batch[i], err)
			} else {
				p.entries++
				each(entries[i])
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
