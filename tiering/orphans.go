package tiering

import (
	"context"
	"fmt"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// deleteOrphans raises the orphan floor if it is time, and then deletes the
// segments below it that the catalog does not know.
//
// A segment is uploaded first and committed later, so one that the catalog does
// not know may be about to be. What makes its deletion safe is the order: from
// the edit that raised the floor on, the catalog refuses every commit of an
// object whose ULID is below it. So what a view that holds this edit does not
// know, no later one will. That view serves for the whole listing.
//
// The node whose edit raised the floor lists. If it ends in between, what it
// left is found after the floor was raised the next time.
func (c *Collector) deleteOrphans(ctx context.Context, view *catalog.State) error {
	behind := view.Time() - c.cfg.OrphanAge.Milliseconds()
	if behind <= 0 || uint64(behind) < view.OrphanFloor()+uint64(c.cfg.OrphanInterval.Milliseconds()) {
		return nil
	}
	floor := uint64(behind)
	result, err := c.propose(ctx, catalog.RaiseOrphanFloor{After: view.OrphanFloor(), Floor: floor})
	switch {
	case err != nil:
		return err
	case result.Err != nil:
		return result.Err
	case !result.Created: // another node has raised it
		return nil
	}
	failpoint.Hit("tiering/after-floor")
	if err := c.sweepOrphans(ctx, c.records.View(), floor); err != nil {
		return err
	}
	return c.abortUploads(ctx, time.UnixMilli(behind))
}

// abortUploads drops the uploads that were begun before a time and never ended: what
// a node that was killed left, and what could not be dropped when an upload failed.
// Nobody works at an upload for so long, and what it would make could not be
// committed any more.
func (c *Collector) abortUploads(ctx context.Context, before time.Time) error {
	// A store lists uploads for as long as it has any.
	ctx, cancel := context.WithTimeout(ctx, uploadsTimeout)
	defer cancel()
	uploads, err := c.bucket.ListUploads(ctx, "")
	if err != nil {
		return err
	}
	aborted := 0
	for _, u := range uploads {
		if u.Begun.IsZero() || !u.Begun.Before(before) {
			continue
		}
		if aborted == c.cfg.DeletesMax {
			break // the rest the next time
		}
		if err := c.bucket.AbortUpload(ctx, u); err != nil {
			return err
		}
		aborted++
		c.metrics.uploads.Inc()
	}
	if aborted > 0 {
		c.logger.Info("unfinished uploads were dropped", "uploads", aborted)
	}
	return nil
}

// uploadsTimeout is how long it may take to list the uploads and to drop the old ones.
const uploadsTimeout = 10 * time.Minute

// sweepOrphans deletes the segments below the floor that a view does not know,
// which must hold the edit that raised the floor.
func (c *Collector) sweepOrphans(ctx context.Context, view *catalog.State, floor uint64) error {
	if view.OrphanFloor() < floor {
		return fmt.Errorf("the replica's orphan floor is %d, not %d", view.OrphanFloor(), floor)
	}
	found := 0
	for shard := range 256 {
		// Within a shard keys are in the order of their ULIDs' time.
		prefix := fmt.Sprintf("%s%02x/", segment.KeyPrefix, shard)
		for after, more := "", true; more; {
			page, err := c.list(ctx, prefix, after)
			if err != nil {
				return err
			}
			var orphans []catalog.NewObject
			more = page.More
			for _, o := range page.Objects {
				after = o.Key
				id, err := segment.ParseKey(o.Key)
				switch {
				case err != nil:
					c.metrics.foreign.Inc()
					c.logger.Warn("a key among the segments is not that of one", "key", o.Key)
				case id.Time() >= floor:
					more = false
				case !view.Known(id) || mutant.On(mutant.SkipKnownObject):
					orphans = append(orphans, catalog.NewObject{ID: id, Size: o.Size})
				}
			}
			deleted, err := c.deleteAll(ctx, whatOrphan, orphans)
			if err != nil {
				return err
			}
			found += len(deleted)
		}
	}
	if found > 0 {
		c.logger.Info("orphans were deleted", "objects", found)
	}
	return nil
}

func (c *Collector) list(ctx context.Context, prefix, after string) (objstore.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	return c.bucket.List(ctx, prefix, after, objstore.ListPageMax)
}
