package linear_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	groupTopic      = "shared"
	groupPartitions = 8
	groupMembers    = 4
	sessionTimeout  = 3 * time.Second
)

// groupLedger is what nobody of those who take part knows: who may be reading which
// partition, and which records were processed by anybody.
type groupLedger struct {
	t *testing.T

	mu        sync.Mutex
	processes map[*groupProcess]bool         // that live; guarded by mu, like all below
	processed [groupPartitions]map[int64]int // how often, by offset
	moves     int                            // partitions that went to another process
	last      [groupPartitions]*groupProcess // who had it last
	counts    map[string]int                 // of what members were told
}

func newGroupLedger(t *testing.T) *groupLedger {
	l := &groupLedger{t: t, processes: map[*groupProcess]bool{}, counts: map[string]int{}}
	for p := range l.processed {
		l.processed[p] = map[int64]int{}
	}
	return l
}

// own notes that a process believes to have partitions until its lease ends. No
// other process may believe the same of any of them.
func (l *groupLedger) own(g *groupProcess, assignment []int32, lease time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.owned, g.lease = assignment, lease
	if !lease.After(time.Now()) {
		g.owned = nil
	}
	for _, p := range g.owned {
		for other := range l.processes {
			if other != g && slices.Contains(other.owned, p) && time.Now().Before(other.lease) {
				l.t.Errorf("partition %d belongs to %s and to %s", p, other.name, g.name)
			}
		}
		if l.last[p] != g {
			l.last[p] = g
			l.moves++
		}
	}
}

// keep leaves a process only those of its partitions that are in an assignment: it
// is about to say so.
func (l *groupLedger) keep(g *groupProcess, assignment []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.owned = slices.DeleteFunc(slices.Clone(g.owned), func(p int32) bool { return !slices.Contains(assignment, p) })
}

func (l *groupLedger) begin(g *groupProcess) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes[g] = true
}

func (l *groupLedger) end(g *groupProcess) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.processes, g)
}

// process notes that a process worked on a record.
func (l *groupLedger) process(g *groupProcess, partition int32, offset int64, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(g.owned, partition) || !time.Now().Before(g.lease) {
		l.t.Errorf("%s got offset %d of partition %d, which it does not have", g.name, offset, partition)
	}
	if want := fmt.Sprintf("%d/", partition); len(value) < len(want) || value[:len(want)] != want {
		l.t.Errorf("%s got %q from partition %d", g.name, value, partition)
	}
	l.processed[partition][offset]++
}

func (l *groupLedger) told(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

// missing returns the first offset below end that nobody processed, -1 for none.
func (l *groupLedger) missing(partition int, end int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for offset := range end {
		if l.processed[partition][offset] == 0 {
			return offset
		}
	}
	return -1
}
