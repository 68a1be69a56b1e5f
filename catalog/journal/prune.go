package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
)

// VerifySnapshot decodes a snapshot to prove that a replica could start from it.
// It calls read once, which passes the parts in order as ReadSnapshot does.
type VerifySnapshot func(info SnapshotInfo, read func(decode func(part []byte) error) error) error

// Prune reads the newest snapshot back, verifies it, and then deletes all but
// the newest two snapshots and, below the older of these, every slot that is
// neither a claim named by that snapshot nor the newest slot, nor slot 0. Of these
// it leaves those that are no further than keep below the newest snapshot, so that
// a replica that slept for a while may still read what it missed. With fewer than
// two snapshots it does nothing. verify may be nil; then only lengths and CRCs are
// checked.
//
// It returns how many objects it deleted, at most PruneDeletesMax: another call
// goes on where this one stopped. It stops at the first error. Any number of
// nodes may prune at once.
func (j *Journal) Prune(ctx context.Context, keep int, verify VerifySnapshot) (deleted int, err error) {
	slots, err := j.Snapshots(ctx)
	if err != nil {
		return 0, fmt.Errorf("prune: %w", err)
	}
	if len(slots) < snapshotsKept {
		return 0, nil
	}
	older, err := j.Snapshot(ctx, slots[len(slots)-snapshotsKept])
	if err == nil {
		var newest SnapshotInfo
		if newest, err = j.Snapshot(ctx, slots[len(slots)-1]); err == nil {
			if err = j.verifySnapshot(ctx, newest, verify); err == nil {
				p := pruner{j: j, older: older, newest: newest, keep: Slot(max(keep, 0))}
				err = p.run(ctx)
				deleted = p.deleted
			}
		}
	}
	if errors.Is(err, ErrNoSnapshot) || errors.Is(err, ErrSnapshotGone) {
		return deleted, nil // there are newer ones, and another node prunes below these
	}
	if err != nil {
		return deleted, fmt.Errorf("prune: %w", err)
	}
	return deleted, nil
}

func (j *Journal) verifySnapshot(ctx context.Context, info SnapshotInfo, verify VerifySnapshot) error {
	wasRead := false
	read := func(decode func(part []byte) error) error {
		err := j.ReadSnapshot(ctx, info, decode)
		wasRead = wasRead || err == nil
		return err
	}
	if verify == nil {
		verify = func(_ SnapshotInfo, read func(func([]byte) error) error) error {
			return read(func([]byte) error { return nil })
		}
	}
	if err := verify(info, read); err != nil {
		return fmt.Errorf("verify snapshot of slot %d: %w", info.Slot, err)
	}
	if !wasRead {
		return fmt.Errorf("verify snapshot of slot %d: it was not read", info.Slot)
	}
	return nil
}

// pruner deletes what the older of two snapshots made superfluous.
type pruner struct {
	j             *Journal
	older, newest SnapshotInfo
	keep          Slot // so far below the newest, slots stay
	deleted       int
}

var errPruneLimit = errors.New("limit of deletions reached")

// run deletes manifests, then parts, then slots. A crash between the first two
// leaves parts without a manifest, which the next run deletes with all the others
// of slots below the older snapshot: a snapshot that is still being written
// there would be of no use.
func (p *pruner) run(ctx context.Context) error {
	k := p.j.keys
	err := p.delete(ctx, sweep{object: objectManifest, prefix: k.manifests, bound: p.older.Slot, parse: k.parseManifest})
	if err == nil {
		err = p.delete(ctx, sweep{object: objectPart, prefix: k.parts, bound: p.older.Slot, parse: k.parsePart})
	}
	if err == nil {
		err = p.deleteSlots(ctx)
	}
	if errors.Is(err, errPruneLimit) {
		return nil
	}
	return err
}

func (p *pruner) deleteSlots(ctx context.Context) error {
	k := p.j.keys
	slots := sweep{
		object: objectSlot, prefix: k.slots, startAfter: k.slot(0), bound: p.slotBound(), parse: k.parseSlot, spared: p.isClaim,
	}
	if mutant.On(mutant.SkipKeepNewestSlot) {
		slots.bound = p.newest.Slot + 1 // every slot that a snapshot holds
	} else if err := p.checkNewestStays(ctx); err != nil {
		return err
	}
	return p.delete(ctx, slots)
}

// slotBound is the lowest slot that stays whatever it holds.
func (p *pruner) slotBound() Slot {
	if p.newest.Slot < p.keep {
		return 0
	}
	return min(p.older.Slot, p.newest.Slot-p.keep)
}

// checkNewestStays makes sure that a slot is left at or above the newest
// snapshot. It is so unless somebody else deleted slots; then to delete more
// would let a sleeping claimer or reader believe that nothing was written since.
func (p *pruner) checkNewestStays(ctx context.Context) error {
	if p.newest.Slot == 0 {
		return nil
	}
	rest, err := p.j.After(ctx, p.newest.Slot-1, 1)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return fmt.Errorf("nothing is left at or above slot %d of the newest snapshot: %w", p.newest.Slot, ErrNoEntry)
	}
	return nil
}

func (p *pruner) isClaim(slot Slot) bool {
	if mutant.On(mutant.SkipKeepClaims) {
		return false
	}
	for _, claims := range [][]Slot{p.older.Claims, p.newest.Claims} {
		if _, found := slices.BinarySearch(claims, slot); found {
			return true
		}
	}
	return false
}

// sweep is a range of keys to delete.
type sweep struct {
	object     string // its name in metrics
	prefix     string
	startAfter string
	bound      Slot                          // what is of this slot or a later one stays
	parse      func(key string) (Slot, bool) // false if the key is not the journal's
	spared     func(slot Slot) bool          // nil spares none
}

// delete carries out a sweep, a page at a time, until the limit of this run.
func (p *pruner) delete(ctx context.Context, s sweep) error {
	for done := false; !done; {
		var doomed []string
		room := min(objstore.ListPageMax, p.j.pruneDeletesMax-p.deleted)
		done = true
		err := p.j.list(ctx, s.prefix, s.startAfter, objstore.ListPageMax, func(o objstore.ObjectInfo) bool {
			key := o.Key
			slot, ok := s.parse(key)
			switch {
			case !ok:
				p.j.skipForeign(key)
			case slot >= s.bound:
				return false
			case s.spared != nil && s.spared(slot):
			case len(doomed) == room:
				done = false
				return false
			default:
				doomed = append(doomed, key)
			}
			s.startAfter = key
			return true
		})
		if err != nil {
			return err
		}
		if len(doomed) == 0 && !done {
			return errPruneLimit
		}
		n, err := p.j.deleteAll(ctx, s.object, doomed)
		p.deleted += n
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteAll deletes keys, several at once, and returns how many it deleted.
func (j *Journal) deleteAll(ctx context.Context, object string, keys []string) (int, error) {
	var deleted atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(deletesInFlightMax)
	for _, key := range keys {
		group.Go(func() error {
			failpoint.Hit("journal/before-delete")
			err := j.repeat(ctx, 0, readAttemptsMax, func(ctx context.Context) error {
				receipt, err := j.bucket.Delete(ctx, key)
				j.observeDate(receipt.Date)
				return err
			})
			if err != nil {
				return fmt.Errorf("delete %s: %w", key, err)
			}
			deleted.Add(1)
			return nil
		})
	}
	err := group.Wait()
	j.metrics.deletions.WithLabelValues(object).Add(float64(deleted.Load()))
	return int(deleted.Load()), err
}
