package tiering

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// errStalled is an upload that stood still for too long.
var errStalled = errors.New("the store does not take a compacted segment")

// uploadBuffer is how much is passed on to an upload at a time, in bytes.
const uploadBuffer = 256 << 10

// coveredPos is where the bytes of a batch begin that its own CRC32C covers.
const coveredPos = 21

// rewrite reads what was planned, uploads it as one segment, compares what is in the
// store then with what was read, and returns the edit that swaps it in.
func (j *compaction) rewrite(ctx context.Context) (*catalog.Compact, error) {
	var extents []catalog.Extent
	for _, run := range j.runs {
		for _, group := range run.groups {
			extents = append(extents, group...)
		}
	}
	held, err := j.hold(ctx, extents)
	if err != nil {
		return nil, fmt.Errorf("read small extents: %w", err)
	}
	stretches, parts, err := j.sources(ctx, extents, held)
	if err != nil {
		return nil, fmt.Errorf("find extents: %w", err)
	}
	id, err := ulid.New(uint64(max(0, j.records.View().Time())), ulid.DefaultEntropy())
	if err != nil {
		return nil, err
	}
	w := &rewriter{compaction: j, edit: &catalog.Compact{Topic: j.topic.ID, Job: j.id, Object: catalog.NewObject{ID: id, Kind: catalog.SegmentObject}}}
	err = j.upload(ctx, segment.Key(id), func(out io.Writer) error {
		w.out = segment.NewWriter(out, id)
		err := j.loadAll(ctx, stretches, func(i int, data []byte) error {
			stretches[i].held = nil
			p := &parts[i]
			return w.take(&extents[p.extent], data[p.from:p.to], p.last)
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		failpoint.Hit("compaction/before-index")
		return w.close()
	})
	if err != nil {
		return nil, err
	}
	j.metrics.bytes.Add(float64(w.edit.Object.Size))
	failpoint.Hit("compaction/after-upload")
	if err := j.compare(ctx, &w.edit.Object, w.tallies); err != nil {
		return nil, err
	}
	return w.edit, nil
}

// upload puts what write writes under key. An upload that fails leaves at most parts,
// which are dropped when they are a day old, or an orphan.
func (j *compaction) upload(ctx context.Context, key string, write func(io.Writer) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in, out := io.Pipe()
	put := make(chan error, 1)
	go func() {
		_, err := j.bucket.PutStream(ctx, key, in)
		if err != nil {
			// Whoever writes must not wait for a reader that is gone.
			_ = in.CloseWithError(err)
		}
		put <- err
	}()
	stalled := func() { cancel(errStalled) }
	buffered := bufio.NewWriterSize(&watchedWriter{out: out, patience: j.cfg.RequestTimeout, stalled: stalled}, uploadBuffer)
	err := write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	// Without an error this is the end of the stream; with one the store drops it.
	_ = out.CloseWithError(err)
	timer := time.AfterFunc(completions*j.cfg.RequestTimeout, stalled)
	defer timer.Stop()
	putErr := <-put
	if cause := context.Cause(ctx); cause == errStalled {
		return fmt.Errorf("upload %s: %w", key, errStalled)
	}
	if err == nil {
		err = putErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// completions is how many times the patience for a request an upload may take to end
// after its last byte: a store may join its parts then.
const completions = 4

// watchedWriter tells when a Write does not come to an end.
type watchedWriter struct {
	out      io.Writer
	patience time.Duration
	stalled  func()
}

func (w *watchedWriter) Write(b []byte) (int, error) {
	timer := time.AfterFunc(w.patience, w.stalled)
	defer timer.Stop()
	return w.out.Write(b)
}

// errFull ends the reading of a job whose segment has as many batches as it may.
var errFull = errors.New("segment has as many batches as it may")

// rewriter writes the extents of a job as they come, in order.
type rewriter struct {
	*compaction
	edit    *catalog.Compact
	out     *segment.Writer
	tallies []tally // of the runs, as they were read

	run, group int            // of the plan
	member     int            // extents of the group that are done
	inside     bool           // an extent of which there is more to come
	rest       []byte         // of it: the beginning of a batch
	next       catalog.Offset // of the next batch
	short      bool           // the group's extent has a CRC32C of its own
	batches    int
}

// take takes the next bytes of an extent, the last ones if last is true.
func (w *rewriter) take(e *catalog.Extent, data []byte, last bool) error {
	if !w.inside {
		if w.member == 0 {
			if w.batches >= w.cfg.BatchesMax {
				return errFull
			}
			if err := w.begin(e); err != nil {
				return err
			}
		}
		w.inside, w.next = true, e.Base
	}
	if len(w.rest) > 0 {
		data = append(w.rest, data...)
		w.rest = nil
	}
	pos := 0
	for pos < len(data) {
		h, err := recordbatch.ParseHeader(data[pos:])
		if errors.Is(err, recordbatch.ErrTruncated) && !last {
			break
		}
		if err == nil {
			err = w.batch(data[pos:pos+h.Size()], h)
		}
		if err != nil {
			return damagedExtent(e, err)
		}
		pos += h.Size()
	}
	if !last {
		w.rest = append([]byte(nil), data[pos:]...)
		return nil
	}
	return w.endExtent(e)
}

func damagedExtent(e *catalog.Extent, err error) error {
	if errors.As(err, new(*writeError)) {
		return err
	}
	return &segment.CorruptError{Key: segment.Key(e.Object), Pos: e.Pos, Err: fmt.Errorf("%v", err)}
}

// writeError is a failure of what is written, not of what was read.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

func (e *writeError) Unwrap() error { return e.err }

// begin begins a group, and its run with the first.
func (w *rewriter) begin(e *catalog.Extent) error {
	run := &w.runs[w.run]
	if w.group == 0 {
		if err := w.out.BeginRun(w.topic.ID, w.topic.Name, run.partition, e.Base); err != nil {
			return err
		}
		w.edit.Partitions = append(w.edit.Partitions, catalog.CompactedPartition{Partition: run.partition, Base: e.Base})
		w.tallies = append(w.tallies, tally{partition: run.partition, base: e.Base, next: e.Base})
	}
	length := int64(0)
	for i := range run.groups[w.group] {
		length += run.groups[w.group][i].Len
	}
	w.short = length <= catalog.ExtentCRCLenMax
	p := &w.edit.Partitions[w.run]
	p.Extents = append(p.Extents, catalog.CompactedExtent{Pos: w.out.Pos()})
	return nil
}

// batch writes a batch with its offset.
func (w *rewriter) batch(data []byte, h recordbatch.Header) error {
	if crc := crc32.Checksum(data[coveredPos:], segment.Castagnoli); crc != h.CRC {
		return fmt.Errorf("batch has CRC32C %08x, says %08x", crc, h.CRC)
	}
	if err := w.tallies[w.run].add(data, h, w.next); err != nil {
		return err
	}
	recordbatch.PatchBaseOffset(data, w.next)
	h.BaseOffset = w.next
	if err := w.out.Append(data, h); err != nil {
		return &writeError{err}
	}
	p := &w.edit.Partitions[w.run]
	x := &p.Extents[len(p.Extents)-1]
	x.Len += int64(len(data))
	x.Records += h.RecordCount
	if w.short {
		x.CRC = crc32.Update(x.CRC, segment.Castagnoli, data)
	}
	w.next += catalog.Offset(h.RecordCount)
	w.batches++
	return nil
}

func (w *rewriter) endExtent(e *catalog.Extent) error {
	if w.next != e.End() {
		return damagedExtent(e, fmt.Errorf("batches end at offset %d, the extent at %d", w.next, e.End()))
	}
	p := &w.edit.Partitions[w.run]
	p.Extents[len(p.Extents)-1].Replaces++
	w.inside = false
	w.member++
	run := &w.runs[w.run]
	if w.member < len(run.groups[w.group]) {
		return nil
	}
	w.member = 0
	if w.group++; w.group < len(run.groups) {
		return nil
	}
	w.run, w.group = w.run+1, 0
	return nil
}

// close writes the index, and completes the edit.
func (w *rewriter) close() error {
	written, err := w.out.Close()
	if err != nil {
		return err
	}
	o := &w.edit.Object
	o.Size, o.IndexPos, o.IndexCRC = written.Size, written.IndexPos, written.IndexCRC
	for i := range w.edit.Partitions {
		p := &w.edit.Partitions[i]
		var replaced []catalog.Extent
		for n := range p.Extents {
			replaced = append(replaced, w.runs[i].groups[n]...)
			if p.Extents[n].Len > catalog.ExtentCRCLenMax {
				p.Extents[n].CRC = written.IndexCRC
			}
		}
		p.Replaced = catalog.DigestExtents(replaced)
	}
	return nil
}
