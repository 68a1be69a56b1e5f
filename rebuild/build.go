package rebuild

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

// builder goes through the segments in the order of their commits.
type builder struct {
	*Rebuilder
	found     *sources
	catalog   *catalog.Builder
	at        place
	sequences map[sequenceKey]*landedSequence
	records   map[uuid.UUID]int64    // by topic
	loose     map[int32][]looseBatch // by partition with compacted runs: what flushes hold of it
	used      map[*source]bool       // they hold records of the log
	before    map[*source]bool       // they hold records that are left out for offsets that are lost behind them
}

// landedSequence is how far a producer has come in a partition.
type landedSequence struct {
	epoch int16
	next  int32 // sequence
}

// build makes the catalog of all segments that were committed.
func (b *Rebuilder) build(ctx context.Context, found *sources) (*catalog.State, error) {
	chains := found.resolveNodes(&b.report)
	found.resolveNames()
	ordered := found.order(chains, &b.report)
	for _, src := range found.all {
		if src.out {
			b.report.leaveOut(segment.Key(src.object.ID), src.object.Size, "its node uploaded it and then went on from before it, so it was not committed")
		}
	}
	at, id := b.place(found), newClusterID()
	w := &builder{
		Rebuilder: b, found: found, at: at, catalog: catalog.NewBuilder(id, at.time),
		sequences: map[sequenceKey]*landedSequence{}, records: map[uuid.UUID]int64{},
		loose: map[int32][]looseBatch{}, used: map[*source]bool{}, before: map[*source]bool{},
	}
	w.addTopics()
	w.addNodes(chains, at.time)
	for batch := range slices.Chunk(ordered, b.cfg.Read.Concurrency) {
		if err := w.addSegments(ctx, batch); err != nil {
			return nil, err
		}
	}
	if err := w.addCompacted(ctx); err != nil {
		return nil, err
	}
	w.countUsed()
	w.catalog.SkipProducerIDs(producerIDsSkipped)
	state, err := w.catalog.Build()
	if err != nil {
		return nil, err
	}
	w.summarize(state, at, id)
	return state, nil
}

func (w *builder) addTopics() {
	for id, t := range w.found.topics {
		if !t.out {
			w.catalog.AddTopic(catalog.Topic{ID: id, Name: t.name, Partitions: t.partitions, Config: catalog.DefaultTopicConfig()})
		}
	}
}

// addNodes makes the node ids known, so that a write-ahead buffer is replayed
// from where its node's commits ended.
func (w *builder) addNodes(chains map[uuid.UUID][]*source, now int64) {
	for node, chain := range chains {
		last := chain[len(chain)-1]
		recent := now-int64(last.object.ID.Time()) < bufferedFor.Milliseconds()
		w.catalog.AddNode(node, last.origin.Upto, recent)
		w.report.Nodes++
	}
}

// addSegments reads the indexes of some segments, and adds one after the other.
func (w *builder) addSegments(ctx context.Context, batch []*source) error {
	indexes := make([]*segment.Index, len(batch))
	group, readCtx := errgroup.WithContext(ctx)
	for i, src := range batch {
		group.Go(func() error {
			o := objstore.ObjectInfo{Key: segment.Key(src.object.ID), Size: src.object.Size}
			d, err := verify.ReadIndex(readCtx, w.store.Read, o)
			if err != nil {
				return fmt.Errorf("read it once more: %w", err)
			}
			indexes[i] = d.Index
			w.done.Add(1)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, src := range batch {
		if err := w.addSegment(ctx, src, indexes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *builder) addSegment(ctx context.Context, src *source, index *segment.Index) error {
	for i := range index.Runs {
		run := &index.Runs[i]
		number := w.found.partitions[catalog.TopicPartition{Topic: run.Topic, Partition: run.Partition}]
		switch {
		case w.found.topics[run.Topic].out:
		case len(w.found.runs[number]) > 0:
			w.addLoose(src, run, number)
		default:
			if err := w.addRun(ctx, src, run); err != nil {
				return err
			}
		}
	}
	return nil
}

// countUsed counts the segments that hold records, and leaves the others out.
func (w *builder) countUsed() {
	for _, src := range w.found.all {
		switch {
		case w.used[src]:
			w.report.Segments++
			w.report.Bytes += src.object.Size
		case !src.out:
			w.report.leaveOut(segment.Key(src.object.ID), src.object.Size, "%s", w.whyUnused(src))
		}
	}
}

func (w *builder) whyUnused(src *source) string {
	if w.before[src] {
		return "its records were below offsets that are lost, and a partition has no gaps"
	}
	return "all that it holds is in compacted segments, was sent again, or is of deleted topics"
}

// stretch is consecutive batches of a run that land.
type stretch struct {
	from, to int // batches
	pos      int64
	len      int64
	records  int64
	latest   int64
}

// addRun adds the batches of a run that land.
func (w *builder) addRun(ctx context.Context, src *source, run *segment.IndexRun) error {
	number := w.found.partitions[catalog.TopicPartition{Topic: run.Topic, Partition: run.Partition}]
	return w.addStretches(ctx, src, run, w.judge(src, run, number))
}

// addStretches adds batches of a run at the end of its partition.
func (w *builder) addStretches(ctx context.Context, src *source, run *segment.IndexRun, stretches []stretch) error {
	tp := catalog.TopicPartition{Topic: run.Topic, Partition: run.Partition}
	crcs := make([]uint32, len(stretches))
	if err := w.sums(ctx, src, run, stretches, crcs); err != nil {
		return err
	}
	for i, st := range stretches {
		base := w.catalog.AddExtent(src.object, tp, catalog.Extent{
			Object: src.object.ID, Pos: run.Pos + segment.Pos(st.pos), Len: st.len,
			CRC: crcs[i], Records: int32(st.records), MaxTimestamp: st.latest,
		})
		for j := st.from; j < st.to; j++ {
			batch := &run.Batches[j]
			if batch.ProducerID >= 0 {
				producer := recordbatch.Producer{ID: batch.ProducerID, Epoch: batch.ProducerEpoch, BaseSequence: batch.BaseSequence}
				w.catalog.Remember(tp, producer, batch.Records, base, int64(src.object.ID.Time()))
			}
			base += catalog.Offset(batch.Records)
		}
		w.records[run.Topic] += st.records
		w.used[src] = true
	}
	return nil
}

// judge returns the stretches of a run whose batches land.
func (w *builder) judge(src *source, run *segment.IndexRun, partition int32) []stretch {
	return stretchesOf(run, func(i int) bool { return w.lands(src, &run.Batches[i], partition) })
}

// stretchesOf returns the stretches of a run that consist of batches that are wanted.
func stretchesOf(run *segment.IndexRun, wanted func(i int) bool) []stretch {
	var found []stretch
	pos := int64(0)
	for i := range run.Batches {
		batch := &run.Batches[i]
		if wanted(i) {
			n := len(found)
			if n == 0 || found[n-1].to != i || found[n-1].records > math.MaxInt32-int64(batch.Records) {
				found = append(found, stretch{from: i, to: i, pos: pos, latest: math.MinInt64})
				n++
			}
			st := &found[n-1]
			st.to = i + 1
			st.len += int64(batch.Len)
			st.records += int64(batch.Records)
			st.latest = max(st.latest, batch.MaxTimestamp)
		}
		pos += int64(batch.Len)
	}
	return found
}

// lands judges a batch as the catalog did: those of an idempotent producer land
// in the order of their sequences, each once. Where a sequence is missing and no
// later segment has it, what had it is lost, and the batch landed.
func (w *builder) lands(src *source, batch *segment.IndexBatch, partition int32) bool {
	if batch.ProducerID < 0 {
		return true
	}
	key := sequenceKey{producer: batch.ProducerID, partition: partition}
	q := w.sequences[key]
	expected, c := int32(0), int(batch.BaseSequence) // sequences begin at 0
	switch {
	case q == nil:
		q = &landedSequence{}
	case batch.ProducerEpoch < q.epoch:
		w.report.OutOfOrder++
		return false
	case batch.ProducerEpoch == q.epoch:
		expected, c = q.next, compareSequences(batch.BaseSequence, q.next)
	}
	switch {
	case c < 0:
		w.report.Duplicates++
		return false
	case c > 0:
		if w.found.holder(key, batch.ProducerEpoch, expected, src.place) != nil {
			w.report.OutOfOrder++
			return false
		}
		w.report.SequenceGaps++
	}
	q.epoch, q.next = batch.ProducerEpoch, int32((int64(batch.BaseSequence)+int64(batch.Records))&math.MaxInt32)
	w.sequences[key] = q
	return true
}

// sums fills in the CRC32C that the extents carry. That of a whole run is in the
// index; for a part of one its bytes are read, and checked.
func (w *builder) sums(ctx context.Context, src *source, run *segment.IndexRun, stretches []stretch, crcs []uint32) error {
	var body []byte
	for i, st := range stretches {
		switch {
		case st.len > catalog.ExtentCRCLenMax:
			crcs[i] = src.object.IndexCRC
			continue
		case st.len == run.Len:
			crcs[i] = run.CRC
			continue
		}
		if body == nil {
			var err error
			if body, err = w.store.Read(ctx, segment.Key(src.object.ID), int64(run.Pos), run.Len); err != nil {
				return err
			}
			if got := crc32.Checksum(body, segment.Castagnoli); got != run.CRC {
				return fmt.Errorf("%s: the run at byte %d has CRC32C %08x, not %08x; take the object away to rebuild without it",
					segment.Key(src.object.ID), run.Pos, got, run.CRC)
			}
		}
		crcs[i] = crc32.Checksum(body[st.pos:st.pos+st.len], segment.Castagnoli)
	}
	return nil
}

func (w *builder) summarize(state *catalog.State, at place, id uuid.UUID) {
	r, counts := &w.report, state.Counts()
	r.Slot, r.Time, r.ClusterID = uint64(at.slot), at.time, id.String()
	r.Partitions, r.Extents, r.Producers = int64(counts.Partitions), counts.Extents, int64(counts.Producers)
	for id, t := range w.found.topics {
		if !t.out {
			r.Topics = append(r.Topics, Topic{Name: t.name, ID: id.String(), Partitions: t.partitions, Records: w.records[id]})
			r.Records += w.records[id]
		}
	}
	slices.SortFunc(r.Topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
}
