package catalog

import (
	"errors"
	"testing"
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
	newer := &Catalog{known: 2, replica: &replica{state: NewState([16]byte{})}}
	if got := refused(newer, RaiseLevel{Level: 2}, RaiseLevel{Level: 3}); got[0] || !got[1] {
		t.Errorf("a node that knows level 2 refuses %v", got)
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
