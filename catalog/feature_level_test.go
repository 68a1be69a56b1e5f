package catalog

import (
	"errors"
	"slices"
	"testing"

	"github.com/wadilog/wadi/catalog/journal"
)

// TestRefuseByLevel: a leader writes nothing that its readers may not know.
func TestRefuseByLevel(t *testing.T) {
	refused := func(c *Catalog, edits ...Edit) []bool {
		var proposals []*Proposal
		for _, e := range edits {
			proposals = append(proposals, newProposal(e))
		}
		admitted := c.refuseByLevel(proposals)
		var out []bool
		for _, p := range proposals {
			out = append(out, p.settled())
			if p.settled() && (p.err != nil || !errors.Is(p.result.Err, ErrFeatureLevel)) {
				t.Errorf("%T: %v, %v", p.edit, p.result.Err, p.err)
			}
			if !p.settled() {
				if len(admitted) == 0 || admitted[0] != p {
					t.Fatalf("%T is neither refused nor admitted", p.edit)
				}
				admitted = admitted[1:]
			}
		}
		return out
	}
	older := &Catalog{known: 1, replica: &replica{state: NewState([16]byte{})}}
	if got := refused(older, RaiseLevel{Level: 2}, Expire{}, RaiseLevel{Level: 1}); !got[0] || got[1] || got[2] {
		t.Errorf("a node that knows level 1 refuses %v", got)
	}
	fence := SetFence{Partition: partitionOf(1, 0), Token: "a"}
	keyedCommit := CommitSegment{Units: []Unit{{Key: RequestKey{ID: [16]byte{1}}}}}
	fencedCommit := CommitSegment{Units: []Unit{unit(records(0, 1).fenced("a"))}}
	pinned := &Catalog{known: 2, replica: &replica{state: NewState([16]byte{})}}
	got := refused(pinned, fence, keyedCommit, fencedCommit, RaiseEpoch{Producer: 1}, CommitSegment{Units: []Unit{unit(records(0, 1))}},
		RaiseLevel{Level: 2}, fence, keyedCommit, fencedCommit, RaiseEpoch{Producer: 1})
	if want := []bool{true, true, true, true, false, false, false, false, false, false}; !slices.Equal(got, want) {
		t.Errorf("at level 1, then 2: refused %v, want %v", got, want)
	}
	newer := &Catalog{known: 2, replica: &replica{state: NewState([16]byte{})}}
	if got := refused(newer, RaiseLevel{Level: 2}, RaiseLevel{Level: 3}); got[0] || !got[1] {
		t.Errorf("a node that knows level 2 refuses %v", got)
	}
}

// TestEditAboveTheLevel: a replica stops where the journal breaks the rule.
func TestEditAboveTheLevel(t *testing.T) {
	edit := SetFence{Partition: partitionOf(1, 0), Token: "a"}
	for level, diverged := range map[uint32]bool{1: true, 2: false} {
		f := newFixture(t)
		f.accepted(RaiseLevel{Level: level})
		r := &replica{state: f.state, known: FeatureLevel}
		e := journal.Entry{Kind: journal.Edits, Slot: 1, Payload: AppendEdits(nil, []Edit{edit}, []Result{{}})}
		var target *DivergedError
		if err := r.apply(&e, newTouched()); errors.As(err, &target) != diverged {
			t.Errorf("at level %d: %v", level, err)
		}
	}
}

// TestLevelIsKept: the level survives a snapshot, and never falls.
func TestLevelIsKept(t *testing.T) {
	f := newFixture(t)
	if f.state.Level() != 1 {
		t.Fatalf("a new journal is at level %d", f.state.Level())
	}
	f.accepted(RaiseLevel{Level: 2})
	f.accepted(RaiseLevel{Level: 1})
	if level := decodeState(t, encodeState(t, f.state)).Level(); level != 2 {
		t.Errorf("level %d after raising to 2 and 1", level)
	}
}
