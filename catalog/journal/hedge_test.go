package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/internal/hedging"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
)

// usualPut is how long PUTs take of late, as far as a journal knows that is told.
const usualPut = 30 * time.Millisecond

func tellLatency(j *Journal) {
	for range hedging.SamplesMin {
		j.latencies.Observe(0, usualPut)
	}
}

// TestHedgedWritesSurviveFaults is TestWritesSurviveFaults for entries of a journal
// that knows when a PUT is slow.
func TestHedgedWritesSurviveFaults(t *testing.T) {
	for name, fault := range writeFaults {
		for _, times := range []int{1, 2, 4} {
			inBubble(t, fmt.Sprintf("%s/%d times", name, times), func(t *testing.T) {
				f := newFaultFixture(t)
				tellLatency(f.j)
				f.fault, f.times, f.felt = fault, times, name != "none"
				testEntryUnderFault(t, f)
			})
		}
	}
}

// TestSlowPutIsHedged: the second PUT is sent when the first is slower than most,
// and the write is settled by whichever answers.
func TestSlowPutIsHedged(t *testing.T) {
	for name, c := range map[string]struct {
		first  faultstore.Fault
		took   time.Duration // the write
		proof  bool          // that the writer leads
		hedges float64
	}{
		"fast":                      {faultstore.DelayBy(usualPut - time.Millisecond), usualPut - time.Millisecond, true, 0},
		"slow to take effect":       {faultstore.DelayBy(500 * time.Millisecond), usualPut, false, 1},
		"slow to answer":            {faultstore.DelayAnswer(500 * time.Millisecond), usualPut, false, 1}, // 412 and read back
		"slow, and refused for now": {faultstore.Fault{Effect: faultstore.Dropped, Answer: faultstore.Throttled, Delay: usualPut + time.Millisecond}, usualPut, false, 1},
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFaultFixture(t)
			tellLatency(f.j)
			f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.slots, Fault: c.first})
			begun := time.Now()
			e := f.chain.entry(Edits, "payload")
			written, err := f.j.Write(t.Context(), e)
			if err != nil || written.First != c.proof {
				t.Errorf("got %+v, %v", written, err)
			}
			if took := time.Since(begun); took != c.took {
				t.Errorf("took %s, expected %s", took, c.took)
			}
			if got := testutil.ToFloat64(f.j.metrics.hedges); got != c.hedges {
				t.Errorf("%g hedges", got)
			}
			f.chain.wrote(e)
			f.expectEntries(t, e)
		})
	}
}

// TestFirstPutAfterHedgeProvesNothing: the hedge takes the slot, others build on it
// and delete it below a snapshot, and then the first PUT arrives and finds nothing.
func TestFirstPutAfterHedgeProvesNothing(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		f := newFaultFixture(t)
		tellLatency(f.j)
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.slots, Fault: faultstore.DelayBy(500 * time.Millisecond)})
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.slots, Skip: 1, Fault: faultstore.HangAfter()})
		e := f.chain.entry(Edits, "payload")
		time.AfterFunc(300*time.Millisecond, func() {
			if _, err := f.store.Delete(t.Context(), f.j.keys.slot(e.Slot)); err != nil {
				t.Error(err)
			}
		})
		begun := time.Now()
		written, err := f.j.Write(t.Context(), e)
		if err != nil || time.Since(begun) != 500*time.Millisecond {
			t.Fatalf("%v after %s, expected the first PUT to succeed", err, time.Since(begun))
		}
		if written.First {
			t.Error("taken for a proof that the writer leads")
		}
	})
}

// TestHedgesHaveABudget: a store that is slow for all PUTs gets a tenth more of them.
func TestHedgesHaveABudget(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		f := newFaultFixture(t)
		tellLatency(f.j)
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.slots, Times: faultstore.Always, Fault: faultstore.DelayBy(900 * time.Millisecond)})
		const writes = 100
		for range writes {
			for range hedging.SamplesMax { // or else what is slow would become usual
				f.j.latencies.Observe(0, usualPut)
			}
			f.chain.add(t, f.j, Edits, "payload")
		}
		if got := testutil.ToFloat64(f.j.metrics.hedges); got < 5 || got > hedging.Burst+writes/10 {
			t.Errorf("%g hedges of %d slow writes", got, writes)
		}
	})
}

// TestClaimsAreNotHedged, nor is a slot that was left unsettled.
func TestClaimsAreNotHedged(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		f := newFaultFixture(t)
		tellLatency(f.j)
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.slots, Times: faultstore.Always, Fault: faultstore.DelayBy(900 * time.Millisecond)})
		f.chain.add(t, f.j, Claim, "")
		e := f.chain.entry(Edits, "payload")
		if _, err := f.j.Settle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(f.j.metrics.hedges); got != 0 {
			t.Errorf("%g hedges", got)
		}
	})
}
