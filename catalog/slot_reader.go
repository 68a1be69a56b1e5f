package catalog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/wadilog/wadi/catalog/journal"
)

// readAhead bounds what a slotReader has read, or is reading, and was not asked for.
type readAhead struct {
	slots int
	bytes int64 // one slot may exceed it
}

func (c *Config) readAhead() readAhead {
	return readAhead{slots: c.ReadAheadSlots, bytes: c.ReadAheadBytes}
}

// slotReader reads slots several at once and hands their entries out in order.
// While one lot is applied the next is on its way, so that neither a slow answer nor
// the work in between leaves the store idle.
type slotReader struct {
	ctx   context.Context // of the one catch-up that this serves
	end   context.CancelFunc
	tasks sync.WaitGroup
	j     *journal.Journal
	ahead readAhead

	sizes  []journal.SlotInfo // what the listing knows, from slot next on
	slot   journal.Slot       // the next to be read
	upto   journal.Slot       // the last
	window []*slotRead        // in order; those that were not handed out
	bytes  int64              // of these
}

// slotRead is one slot on its way.
type slotRead struct {
	slot  journal.Slot
	bytes int64
	done  chan struct{} // closed when entry or err is set
	entry journal.Entry
	err   error
}

// newSlotReader returns a reader of the slots from first up to the last of those
// that were found, which may lack some in between. It must be closed.
func newSlotReader(ctx context.Context, j *journal.Journal, first journal.Slot, found []journal.SlotInfo, ahead readAhead) *slotReader {
	r := &slotReader{j: j, ahead: ahead, sizes: found, slot: first, upto: found[len(found)-1].Slot}
	r.ctx, r.end = context.WithCancel(ctx)
	return r
}

// close ends what is under way.
func (r *slotReader) close() {
	r.end()
	r.tasks.Wait()
}

// next returns the entries that follow: the first when it is there, and with it
// those that came meanwhile. None and no error is the end. An error comes with the
// entries before it; it is errReload if the slot is gone.
func (r *slotReader) next() ([]journal.Entry, error) {
	r.fill()
	var entries []journal.Entry
	for len(r.window) > 0 {
		read := r.window[0]
		if len(entries) == 0 {
			<-read.done // it ends with ctx at the latest
		}
		select {
		case <-read.done:
		default:
			return entries, nil
		}
		if errors.Is(read.err, journal.ErrNoEntry) {
			return entries, fmt.Errorf("%w: slot %d is gone", errReload, read.slot)
		}
		if read.err != nil {
			return entries, read.err
		}
		entries = append(entries, read.entry)
		r.window[0] = nil
		r.window = r.window[1:]
		r.bytes -= read.bytes
		r.fill()
		if len(entries) == r.ahead.slots {
			break
		}
	}
	return entries, nil
}

// fill begins to read as many slots as the bounds allow.
func (r *slotReader) fill() {
	for r.slot <= r.upto && len(r.window) < r.ahead.slots {
		size := r.size()
		if len(r.window) > 0 && r.bytes+size > r.ahead.bytes {
			return
		}
		read := &slotRead{slot: r.slot, bytes: size, done: make(chan struct{})}
		r.window = append(r.window, read)
		r.bytes += size
		r.slot++
		r.tasks.Go(func() {
			defer close(read.done)
			read.entry, read.err = r.j.Read(r.ctx, read.slot)
		})
	}
}

// size is what the next slot takes; one that the listing lacks may be as large as
// any.
func (r *slotReader) size() int64 {
	for len(r.sizes) > 0 && r.sizes[0].Slot < r.slot {
		r.sizes = r.sizes[1:]
	}
	if len(r.sizes) > 0 && r.sizes[0].Slot == r.slot {
		return r.sizes[0].Bytes
	}
	return journal.EntryBytesMax
}
