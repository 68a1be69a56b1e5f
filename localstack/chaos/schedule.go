package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// FaultKind is what is done to the system.
type FaultKind int

const (
	KillNode       FaultKind = iota // SIGKILL, and started again on its disk
	PauseNode                       // SIGSTOP, then SIGCONT
	CutStore                        // between one node and the store
	CutPeers                        // between the other nodes and one
	CutStoreOfAll                   // between every node and the store
	PauseStore                      // SIGSTOP of MinIO, then SIGCONT
	KillStore                       // SIGKILL of MinIO, and started again
	RestartNode                     // SIGTERM, must exit 0, and started again
	AddNode                         // one more
	RemoveNode                      // SIGTERM, must exit 0, and its disk is deleted
	LoseNode                        // SIGKILL for ever, of a node without a disk
	RollingRestart                  // RestartNode of every node, one after the other
	faultKinds
)

func (k FaultKind) String() string {
	return [...]string{
		"kill -9", "pause", "cut from store", "cut from peers", "cut all from store", "pause store", "kill -9 store",
		"restart", "add", "remove", "lose", "rolling restart",
	}[k]
}

// needsCalm tells whether a fault goes on alone, with all nodes ready before it: a
// node cannot be asked to start, or to end in good order, while it is kept from it.
func (k FaultKind) needsCalm() bool {
	return k == RestartNode || k == AddNode || k == RemoveNode || k == RollingRestart
}

// onNode tells whether a fault is done to one node that runs.
func (k FaultKind) onNode() bool { return k <= CutPeers }

// Fault is one fault of a schedule. Which node it hits depends on who leads and
// on who is there when its time comes.
type Fault struct {
	Kind   FaultKind
	Leader bool          // hits the leader; else Pick chooses
	Pick   uint32        //
	Link   LinkState     // of cuts
	Lasts  time.Duration // until it ends, or the node is started again
}

func (f Fault) String() string {
	text := f.Kind.String()
	if f.Leader {
		text += " the leader"
	}
	if f.Link != Open {
		text += fmt.Sprintf(" (%s)", f.Link)
	}
	if f.Lasts > 0 {
		text += fmt.Sprintf(" for %s", f.Lasts.Round(time.Millisecond))
	}
	return text
}

// Step is one cycle of a schedule: faults at once, and some quiet after them.
type Step struct {
	Faults []Fault
	Rest   time.Duration
}

// Schedule draws faults from a seed; the same seed gives the same ones.
type Schedule struct{ random *rand.Rand }

// NewSchedule begins a schedule.
func NewSchedule(seed uint64) *Schedule {
	return &Schedule{rand.New(rand.NewPCG(seed, hashOf([]byte("schedule"))))}
}

// weights say how often each kind comes.
var weights = [faultKinds]int{
	KillNode: 22, PauseNode: 18, CutStore: 14, CutPeers: 12, CutStoreOfAll: 7, PauseStore: 3, KillStore: 3,
	RestartNode: 6, AddNode: 5, RemoveNode: 4, LoseNode: 3, RollingRestart: 3,
}

// togetherOne of so many steps has two faults that overlap.
const togetherOne = 4

// Next draws the next step.
func (s *Schedule) Next() Step {
	step := Step{Faults: []Fault{s.fault()}, Rest: s.between(200*time.Millisecond, 3*time.Second)}
	if first := step.Faults[0].Kind; s.random.IntN(togetherOne) == 0 && !first.needsCalm() {
		if second := s.fault(); !second.Kind.needsCalm() {
			step.Faults = append(step.Faults, second)
		}
	}
	return step
}

func (s *Schedule) fault() Fault {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	n := s.random.IntN(total)
	kind := FaultKind(0)
	for ; n >= weights[kind]; kind++ {
		n -= weights[kind]
	}
	// All is drawn, needed or not, so that a kind's fields do not move the rest.
	f := Fault{Kind: kind, Leader: s.random.IntN(2) == 0, Pick: s.random.Uint32()}
	link := []LinkState{Reset, Blackhole, LoseAnswers, LoseRequests, Slow}[s.random.IntN(5)]
	short, long := s.between(100*time.Millisecond, 2*time.Second), s.between(2*time.Second, 8*time.Second)
	f.Lasts = short
	if s.random.IntN(3) == 0 {
		f.Lasts = long // beyond what a follower waits before it takes the lead
	}
	switch kind {
	case CutStore, CutPeers, CutStoreOfAll:
		f.Link = link
	case RestartNode, AddNode, RemoveNode, LoseNode, RollingRestart:
		f.Lasts = 0
	}
	f.Leader = f.Leader && (kind.onNode() || kind == RestartNode)
	return f
}

func (s *Schedule) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)))
}
