package ingest

import (
	"bytes"
	"errors"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
)

// sealedSegment is a segment with the units that are in it.
type sealedSegment struct {
	*segment.Sealed
	units []*unit
	// places says where each unit's batches are in the segment: for each unit
	// and append the index of its run and of its first batch in it.
	places [][]place
}

type place struct{ run, batch int }

// seal encodes units into one segment. The units' batches point into its body
// afterwards, so that the requests' own memory can go.
func seal(id ulid.ULID, origin segment.Origin, units []*unit) (*sealedSegment, error) {
	runs, places := groupRuns(units)
	sealed, err := segment.Encode(id, origin, runs)
	if err != nil {
		return nil, err
	}
	for i, u := range units {
		for j := range u.appends {
			p := places[i][j]
			batches := u.appends[j].batches
			copy(batches, sealed.Runs[p.run].Batches[p.batch:p.batch+len(batches)])
			for k := range batches {
				b := &batches[k]
				b.Data = sealed.Body[b.Pos : int(b.Pos)+len(b.Data)]
			}
		}
	}
	return &sealedSegment{Sealed: sealed, units: units, places: places}, nil
}

// groupRuns joins the batches of each partition, in the order of the units.
func groupRuns(units []*unit) ([]segment.Run, [][]place) {
	index := map[catalog.TopicPartition]int{}
	var runs []segment.Run
	places := make([][]place, len(units))
	for i, u := range units {
		places[i] = make([]place, len(u.appends))
		for j := range u.appends {
			a := &u.appends[j]
			at, ok := index[a.partition]
			if !ok {
				at = len(runs)
				index[a.partition] = at
				runs = append(runs, segment.Run{Topic: a.partition.Topic, TopicName: a.topicName, Partition: a.partition.Partition})
			}
			places[i][j] = place{run: at, batch: len(runs[at].Batches)}
			runs[at].Batches = append(runs[at].Batches, a.batches...)
		}
	}
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := bytes.Compare(runs[a].Topic[:], runs[b].Topic[:]); c != 0 {
			return c
		}
		return int(runs[a].Partition) - int(runs[b].Partition)
	})
	sorted := make([]segment.Run, len(runs))
	position := make([]int, len(runs))
	for to, from := range order {
		sorted[to] = runs[from]
		position[from] = to
	}
	for i := range places {
		for j := range places[i] {
			places[i][j].run = position[places[i][j].run]
		}
	}
	return sorted, places
}

// commitUnits makes the units of a CommitSegment of those units that take part,
// and tells for each of these where its results will be.
//
// Unconditional units of one partition whose batches lie side by side become
// one: they are accepted or refused alike, and nothing can come between them.
func (s *sealedSegment) commitUnits(taking []bool) ([]catalog.Unit, []unitResults) {
	var out []catalog.Unit
	where := make([]unitResults, len(s.units))
	open := map[catalog.TopicPartition]int{} // the unit in out that an adjacent one may join
	for i, u := range s.units {
		if !taking[i] {
			continue
		}
		if !u.conditional() {
			a := &u.appends[0]
			whole := s.appendOf(a)
			if at, ok := open[a.partition]; ok {
				joined := &out[at].Appends[0]
				if joined.Pos+catalog.Pos(joined.Len) == whole.Pos {
					where[i] = unitResults{unit: at, delta: catalog.Offset(joined.Records), appends: []int{0}}
					joined.CRC = segment.CombineCRC(joined.CRC, whole.CRC, whole.Len)
					joined.Len += whole.Len
					joined.Records += whole.Records
					joined.MaxTimestamp = max(joined.MaxTimestamp, whole.MaxTimestamp)
					continue
				}
			}
			open[a.partition] = len(out)
			where[i] = unitResults{unit: len(out), appends: []int{0}}
			out = append(out, catalog.Unit{Appends: []catalog.Append{whole}})
			continue
		}
		w := unitResults{unit: len(out), appends: make([]int, len(u.appends))}
		unit := catalog.Unit{Key: u.key}
		for j := range u.appends {
			a := &u.appends[j]
			delete(open, a.partition) // order within the partition is the units' order
			w.appends[j] = len(unit.Appends)
			if a.idempotent() {
				unit.Appends = append(unit.Appends, producerAppends(a)...)
			} else {
				unit.Appends = append(unit.Appends, s.appendOf(a))
			}
		}
		where[i] = w
		out = append(out, unit)
	}
	return out, where
}

// unitResults says where the results of a unit are in those of a commit.
type unitResults struct {
	unit    int
	delta   catalog.Offset // its first record, from the first of the joined append
	appends []int          // for each of the unit's appends, the first of the commit's
}

// appendOf describes all batches of a unit's append as one.
func (s *sealedSegment) appendOf(a *unitAppend) catalog.Append {
	out := describe(a.partition, &a.batches[0])
	out.Expected = a.expected
	out.Token = a.token
	out.Producer = recordbatch.NoProducer
	for i := range a.batches[1:] {
		b := &a.batches[1+i]
		n := int64(len(b.Data))
		out.CRC = segment.CombineCRC(out.CRC, b.CRC, n)
		out.Len += n
		out.Records += b.Header.RecordCount
		out.MaxTimestamp = max(out.MaxTimestamp, b.Header.MaxTimestamp)
	}
	return out
}

// producerAppends describes each batch by itself, since the catalog remembers
// a producer's batches one by one.
func producerAppends(a *unitAppend) []catalog.Append {
	out := make([]catalog.Append, len(a.batches))
	for i := range a.batches {
		h := &a.batches[i].Header
		out[i] = describe(a.partition, &a.batches[i])
		out[i].Expected = catalog.AnyOffset
		out[i].Producer = recordbatch.Producer{ID: h.ProducerID, Epoch: h.ProducerEpoch, BaseSequence: h.BaseSequence}
	}
	out[0].Expected = a.expected
	out[0].Token = a.token
	return out
}

func describe(tp catalog.TopicPartition, b *segment.Batch) catalog.Append {
	return catalog.Append{
		Partition:    tp,
		Pos:          b.Pos,
		Len:          int64(len(b.Data)),
		CRC:          b.CRC,
		Records:      b.Header.RecordCount,
		MaxTimestamp: b.Header.MaxTimestamp,
	}
}

// errRepeat says that the results of a unit are those of the request that
// landed under its key before.
var errRepeat = errors.New("the request is a repeat")

// resultsOf returns what became of unit i.
func (s *sealedSegment) resultsOf(i int, w unitResults, committed []catalog.UnitResult) ([]Result, error) {
	ur := committed[w.unit]
	if ur.Err != nil {
		return nil, ur.Err
	}
	if ur.Replayed {
		return nil, errRepeat
	}
	u := s.units[i]
	results := make([]Result, len(u.appends))
	for j := range u.appends {
		a := &u.appends[j]
		first := ur.Appends[w.appends[j]]
		duplicate := first.Duplicate
		if a.idempotent() {
			for k := range a.batches {
				duplicate = duplicate && ur.Appends[w.appends[j]+k].Duplicate
			}
		}
		results[j] = Result{
			Partition:  a.partition.Partition,
			BaseOffset: first.Base + w.delta,
			Records:    a.records,
			Timestamp:  a.timestamp,
			Duplicate:  duplicate,
		}
	}
	return results, nil
}
