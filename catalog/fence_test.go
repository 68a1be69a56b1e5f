package catalog

import (
	"errors"
	"strings"
	"testing"
)

func wantFence(t *testing.T, err error, token string) {
	t.Helper()
	var fence *FenceError
	if !errors.As(err, &fence) || fence.Token != token {
		t.Errorf("got %v, want the token %q", err, token)
	}
}

// TestFencingToken: only who names the partition's token may append with one.
// Red under mutant.SkipFenceCheck.
func TestFencingToken(t *testing.T) {
	f := newKeyedFixture(t)
	tp := partitionOf(1, 0)
	wantFence(t, f.rejected(records(0, 1).fenced("a")), "")
	f.accepted(SetFence{Partition: tp, Token: "a"})
	f.landed(records(0, 1).fenced("a"))
	f.landed(records(0, 1)) // does not ask
	f.landed(records(1, 1)) // another partition
	wantFence(t, f.rejected(records(1, 1).fenced("a")), "")
	f.accepted(SetFence{Partition: tp, Token: "b"})
	wantFence(t, f.rejected(records(0, 1).fenced("a")), "b")
	// The token first: a writer that was fenced should not learn of offsets.
	wantFence(t, f.rejected(records(0, 1).fenced("a").expecting(99)), "b")
	var offset *OffsetError
	if err := f.rejected(records(0, 1).fenced("b").expecting(99)); !errors.As(err, &offset) || offset.End != 2 {
		t.Errorf("got %v", err)
	}
	f.landed(records(0, 1).fenced("b").expecting(2))
	// A batch that landed once is told as such, whoever leads now.
	id := f.producer()
	f.landed(records(0, 1).by(id, 0, 0).fenced("b"))
	f.accepted(SetFence{Partition: tp, Token: "c"})
	if got := f.landed(records(0, 1).by(id, 0, 0).fenced("b")); !got[0].Duplicate {
		t.Errorf("got %+v", got)
	}
	wantFence(t, f.rejected(records(0, 1).by(id, 0, 1).fenced("b")), "c")
	f.accepted(SetFence{Partition: tp})
	wantFence(t, f.rejected(records(0, 1).fenced("c")), "")
	if n := f.state.Counts().Fences; n != 0 {
		t.Errorf("%d partitions have a token", n)
	}
}

// TestSetFence: compare and set, twice the same, and what is no token.
func TestSetFence(t *testing.T) {
	f := newKeyedFixture(t)
	tp := partitionOf(1, 0)
	f.accepted(SetFence{Partition: tp, Token: "a", Conditional: true})
	f.accepted(SetFence{Partition: tp, Token: "a", Conditional: true}) // the same edit again
	wantFence(t, f.apply(SetFence{Partition: tp, Token: "b", Conditional: true}).Err, "a")
	wantFence(t, f.apply(SetFence{Partition: tp, Token: "b", Conditional: true, Expected: "x"}).Err, "a")
	f.accepted(SetFence{Partition: tp, Token: "b", Conditional: true, Expected: "a"})
	f.accepted(SetFence{Partition: tp, Token: strings.Repeat("z", TokenLenMax)})
	f.accepted(SetFence{Partition: tp, Token: "last"})
	for _, e := range []SetFence{
		{Token: strings.Repeat("z", TokenLenMax+1)}, {Token: "a b"}, {Token: "\x7f"}, {Token: "ä"},
		{Token: "a", Expected: "\n", Conditional: true}, {Token: "a", Expected: "b"},
	} {
		e.Partition = tp
		if r := f.apply(e); !errors.Is(r.Err, ErrInvalid) {
			t.Errorf("%+v: %v", e, r.Err)
		}
	}
	if r := f.apply(SetFence{Partition: partitionOf(1, 9), Token: "a"}); r.Err != ErrPartitionNotFound {
		t.Errorf("got %v", r.Err)
	}
	if r := f.apply(SetFence{Partition: partitionOf(9, 0), Token: "a"}); r.Err != ErrTopicNotFound {
		t.Errorf("got %v", r.Err)
	}
	f.state.capacity.fences, f.replica.capacity.fences = 1, 1
	if r := f.apply(SetFence{Partition: partitionOf(1, 1), Token: "a"}); r.Err != ErrCatalogFull {
		t.Errorf("got %v", r.Err)
	}
	f.accepted(SetFence{Partition: tp, Token: "other"})
	if token := f.state.Fence(tp); token != "other" {
		t.Errorf("the token is %q", token)
	}
	f.accepted(DeleteTopic{ID: topicID(1)})
	if n := f.state.Counts().Fences; n != 0 {
		t.Errorf("%d partitions have a token", n)
	}
}
