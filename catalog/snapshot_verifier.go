package catalog

import (
	"fmt"

	"github.com/wadilog/wadi/catalog/journal"
)

// snapshotVerifier checks a snapshot while it is decoded. It finds what CheckAll
// finds in the decoded State, but lets go of a partition's extents once they are
// checked: a node that has the state in memory already need not have room for
// another.
type snapshotVerifier struct {
	dec  StateDecoder
	live map[ObjectID]int64 // extents, by object
	err  error              // the first that a partition has
}

func newSnapshotVerifier() *snapshotVerifier {
	v := &snapshotVerifier{live: map[ObjectID]int64{}}
	v.dec.reduce = v.partition
	return v
}

// write takes the next bytes of the snapshot.
func (v *snapshotVerifier) write(chunk []byte) error {
	if err := v.dec.Write(chunk); err != nil {
		return err
	}
	return v.err
}

// partition checks a partition and returns its bounds, which is what other
// sections refer to. The objects and the time were decoded before it.
func (v *snapshotVerifier) partition(tp TopicPartition, p *Partition) *Partition {
	if v.err == nil {
		v.err = checkPartitionEnds(tp, p)
	}
	if v.err == nil {
		v.err = v.dec.state.checkExtents(tp, p, v.live)
	}
	return &Partition{logStart: p.logStart, end: p.end}
}

// verify checks the rest, and that the snapshot is what its manifest says.
func (v *snapshotVerifier) verify(info journal.SnapshotInfo) error {
	state, err := v.dec.State()
	if err != nil {
		return err
	}
	if state.Time() != info.Time || state.Level() != info.Level {
		return fmt.Errorf("it is of time %d and level %d, its manifest of %d and %d", state.Time(), state.Level(), info.Time, info.Level)
	}
	return checkAllWith(state, func(s *State) error { return s.checkObjects(v.live) })
}
