package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

// source is a segment, as far as its order is concerned.
type source struct {
	object     catalog.NewObject
	origin     segment.Origin
	partitions []int32 // of sources.partitions
	compacted  bool    // it has no origin, and its batches have offsets
	out        bool    // it was not committed
	place      int     // in the order; from 0
}

// sources are all segments of a store whose index can be read.
type sources struct {
	all        []*source // by id
	topics     map[uuid.UUID]*topicFound
	partitions map[catalog.TopicPartition]int32
	ranges     map[sequenceKey][]sequenceRange
	runs       map[int32][]compactedRun // by partition
}

// topicFound is what segments say of a topic.
type topicFound struct {
	name       string
	newest     catalog.ObjectID // that names it
	partitions int32            // one more than the highest seen
	out        bool             // another topic has its name
}

// sequenceKey names what one producer sent to one partition.
type sequenceKey struct {
	producer  int64
	partition int32 // of sources.partitions
}

// sequenceRange is what one segment holds of that, in one epoch.
type sequenceRange struct {
	source      *source
	first, last int32
	epoch       int16
}

// precedes orders ranges as their batches must have been committed; equal ones
// by id.
func (r sequenceRange) compare(other sequenceRange) int {
	if c := cmp.Compare(r.epoch, other.epoch); c != 0 {
		return c
	}
	if r.first != other.first {
		return compareSequences(r.first, other.first)
	}
	return r.source.object.ID.Compare(other.source.object.ID)
}

// compareSequences orders sequences, which go on at 0 after 2^31-1: the one that
// is less than half way ahead is later.
func compareSequences(a, b int32) int {
	switch distance := (int64(b) - int64(a)) & math.MaxInt32; {
	case distance == 0:
		return 0
	case distance < 1<<30:
		return -1
	default:
		return 1
	}
}

// collect reads the indexes of all segments. Damaged ones are left out.
func (b *Rebuilder) collect(ctx context.Context) (*sources, error) {
	found := &sources{
		topics: map[uuid.UUID]*topicFound{}, partitions: map[catalog.TopicPartition]int32{}, ranges: map[sequenceKey][]sequenceRange{},
		runs: map[int32][]compactedRun{},
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.cfg.Read.Concurrency)
	err := b.list(ctx, func(o objstore.ObjectInfo, id catalog.ObjectID) {
		b.total.Add(1)
		group.Go(func() error {
			defer b.done.Add(1)
			s, err := verify.ReadIndex(ctx, b.store.Read, o)
			corrupt := (*segment.CorruptError)(nil)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, segment.ErrVersion):
				return fmt.Errorf("%s: %w: a newer version of wadi is needed", o.Key, err)
			case errors.As(err, &corrupt):
				b.report.leaveOut(o.Key, o.Size, "damaged at byte %d: %v", corrupt.Pos, corrupt.Err)
			case errors.Is(err, objstore.ErrNotFound):
				b.report.leaveOut(o.Key, o.Size, "it was deleted meanwhile")
			case err != nil:
				return err
			case s.Index.ID != id:
				b.report.leaveOut(o.Key, o.Size, "it is segment %s by its index", s.Index.ID)
			default:
				found.add(s)
			}
			return nil
		})
	})
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	slices.SortFunc(found.all, func(a, b *source) int { return a.object.ID.Compare(b.object.ID) })
	return found, nil
}

// list lists all segments.
func (b *Rebuilder) list(ctx context.Context, each func(objstore.ObjectInfo, catalog.ObjectID)) error {
	for after, more := "", true; more; {
		page, err := b.store.List(ctx, segment.KeyPrefix, after)
		if err != nil {
			return err
		}
		more = page.More
		for _, o := range page.Objects {
			after = o.Key
			if id, err := segment.ParseKey(o.Key); err == nil {
				each(o, id)
			}
		}
	}
	return nil
}

// add notes what there is to know of one segment.
func (s *sources) add(d verify.SelfDescribed) {
	src := &source{object: d.Object, origin: d.Index.Origin, compacted: d.Index.Compacted}
	s.all = append(s.all, src)
	for i := range d.Index.Runs {
		run := &d.Index.Runs[i]
		t := s.topics[run.Topic]
		if t == nil {
			t = &topicFound{}
			s.topics[run.Topic] = t
		}
		if t.name == "" || d.Object.ID.Compare(t.newest) > 0 {
			t.name, t.newest = run.TopicName, d.Object.ID
		}
		t.partitions = max(t.partitions, run.Partition+1)
		tp := catalog.TopicPartition{Topic: run.Topic, Partition: run.Partition}
		number, ok := s.partitions[tp]
		if !ok {
			number = int32(len(s.partitions))
			s.partitions[tp] = number
		}
		src.partitions = append(src.partitions, number)
		if src.compacted {
			s.runs[number] = append(s.runs[number], compactedRun{
				source: src, base: run.Base, end: run.Base + catalog.Offset(run.Records),
				pos: int64(run.Pos), len: run.Len, crc: run.CRC, latest: run.MaxTimestamp,
			})
			continue
		}
		s.addRanges(src, number, run)
	}
}

func (s *sources) addRanges(src *source, partition int32, run *segment.IndexRun) {
	for i := range run.Batches {
		b := &run.Batches[i]
		if b.ProducerID < 0 {
			continue
		}
		key := sequenceKey{producer: b.ProducerID, partition: partition}
		last := lastSequence(b)
		ranges := s.ranges[key]
		if n := len(ranges); n > 0 && ranges[n-1].source == src && ranges[n-1].epoch == b.ProducerEpoch {
			r := &ranges[n-1]
			if compareSequences(b.BaseSequence, r.first) < 0 {
				r.first = b.BaseSequence
			}
			if compareSequences(last, r.last) > 0 {
				r.last = last
			}
			continue
		}
		s.ranges[key] = append(ranges, sequenceRange{source: src, first: b.BaseSequence, last: last, epoch: b.ProducerEpoch})
	}
}

// lastSequence is the sequence of a batch's last record.
func lastSequence(b *segment.IndexBatch) int32 {
	return int32((int64(b.BaseSequence) + int64(b.Records) - 1) & math.MaxInt32)
}
