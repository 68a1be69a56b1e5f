package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// writeFaults are the ways in which a write can go wrong or seem to.
var writeFaults = map[string]faultstore.Fault{
	"none":                       {},
	"answer just in time":        faultstore.DelayAnswer(900 * time.Millisecond),
	"answer too late":            faultstore.DelayAnswer(3 * time.Second),
	"request held back too long": faultstore.DelayBy(3 * time.Second),
	"request lost":               faultstore.LoseRequest(),
	"response lost":              faultstore.LoseResponse(),
	"500 before the effect":      faultstore.FailBefore(),
	"500 after the effect":       faultstore.FailAfter(),
	"503":                        faultstore.Throttle(),
	"503 after the effect":       faultstore.ThrottleAfter(),
	"409":                        faultstore.RefuseAsConflict(),
	"412 on own write":           faultstore.ExistsByOwnWrite(),
	"body mangled":               faultstore.MangleBody(),
	"hang before the effect":     faultstore.HangBefore(),
	"hang after the effect":      faultstore.HangAfter(),
	"lands during the pause":     faultstore.LandLate(10 * time.Millisecond),
	"lands after the repeat":     faultstore.LandLate(time.Minute),
	"hangs, then lands":          faultstore.HangThenLand(1100 * time.Millisecond),
	"hangs, lands after repeat":  faultstore.HangThenLand(time.Minute),
}

// unfelt faults do not keep the first PUT from being answered 200 in time.
var unfelt = []string{"none", "answer just in time"}

// objects of a bucket, to be compared.
func contents(t *testing.T, store *memstore.Store) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, key := range store.Keys() {
		object, err := store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		found[key] = string(object.Body)
	}
	return found
}

// TestWritesSurviveFaults writes each kind of object while its first requests
// go wrong, and expects success, the object once, and nothing else, also after
// what was late has landed.
func TestWritesSurviveFaults(t *testing.T) {
	for name, fault := range writeFaults {
		for _, times := range []int{1, 3} {
			test := func(kind string, run func(t *testing.T, f *faultFixture)) {
				inBubble(t, fmt.Sprintf("%s/%s/%d times", kind, name, times), func(t *testing.T) {
					f := newFaultFixture(t)
					f.fault, f.times, f.felt = fault, times, !slices.Contains(unfelt, name)
					run(t, f)
				})
			}
			test("entry", testEntryUnderFault)
			test("claim", testClaimUnderFault)
			test("snapshot part", testPartUnderFault)
			test("manifest", testManifestUnderFault)
		}
	}
}

type faultFixture struct {
	store *memstore.Store
	fault faultstore.Fault
	times int
	felt  bool // the fault keeps the first PUT from a 200
	fs    *faultstore.Store
	j     *Journal
	chain *chain
}

func newFaultFixture(t *testing.T) *faultFixture {
	store := memstore.New()
	fs := faultstore.New(store)
	j := open(t, fs, smallParts)
	return &faultFixture{store: store, fs: fs, j: j, chain: begin(t, j)}
}

func (f *faultFixture) inject(op, prefix string) {
	f.fs.Add(faultstore.Rule{Op: op, Prefix: prefix, Times: f.times, Fault: f.fault})
}

// settle lets everything land that is under way.
func (f *faultFixture) settle() {
	time.Sleep(2 * time.Minute)
	f.fs.Land()
}

func testEntryUnderFault(t *testing.T, f *faultFixture) {
	f.inject(objstore.OpPutIfAbsent, f.j.keys.slots)
	e := f.chain.entry(Edits, "payload")
	written, err := f.j.Write(t.Context(), e)
	if err != nil || written.First == f.felt {
		t.Fatalf("got %+v, %v", written, err)
	}
	f.chain.wrote(e)
	f.expectEntries(t, e)
}

func testClaimUnderFault(t *testing.T, f *faultFixture) {
	f.inject(objstore.OpPutIfAbsent, f.j.keys.slots)
	f.fs.Add(faultstore.Rule{Op: objstore.OpList, Times: 2, Fault: faultstore.FailBefore()})
	e := f.chain.entry(Claim, "")
	if _, err := f.j.WriteClaim(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	f.chain.wrote(e)
	f.expectEntries(t, e)
}

// expectEntries expects the entry e in the journal, another one after it, and no more.
func (f *faultFixture) expectEntries(t *testing.T, e *Entry) {
	t.Helper()
	f.fs.Reset()
	f.chain.add(t, f.j, Edits, "the one after")
	f.settle()
	got, err := f.j.Read(t.Context(), e.Slot)
	if err != nil || !reflect.DeepEqual(got, *e) {
		t.Errorf("got %+v, %v, want %+v", got, err, e)
	}
	if slots := slotsOf(f.j, f.store); !slices.Equal(slots, []Slot{0, 1, 2, 3}) {
		t.Errorf("slots %v", slots)
	}
}

func testPartUnderFault(t *testing.T, f *faultFixture) {
	f.inject(objstore.OpPut, f.j.keys.parts)
	f.expectSnapshot(t)
}

func testManifestUnderFault(t *testing.T, f *faultFixture) {
	f.inject(objstore.OpPutIfAbsent, f.j.keys.manifests)
	f.expectSnapshot(t)
}

func (f *faultFixture) expectSnapshot(t *testing.T) {
	t.Helper()
	const content = "a state of several parts"
	info := f.chain.snapshot(t, f.j, content)
	whole := contents(t, f.store)
	f.settle()
	if after := contents(t, f.store); !reflect.DeepEqual(after, whole) {
		t.Errorf("what landed late changed the bucket from %q to %q", whole, after)
	}
	latest, err := f.j.LatestSnapshot(t.Context())
	if err != nil || !reflect.DeepEqual(latest, info) {
		t.Fatalf("got %+v, %v, want %+v", latest, err, info)
	}
	if got := readBack(t, f.j, latest); got != content {
		t.Errorf("got %q, want %q", got, content)
	}
	if n := partsOf(f.j, f.store); n != 3 {
		t.Errorf("%d parts, want 3", n)
	}
}

// TestReadsSurviveFaults reads while the first requests go wrong.
func TestReadsSurviveFaults(t *testing.T) {
	for name, fault := range map[string]faultstore.Fault{
		"request lost": faultstore.LoseRequest(), "response lost": faultstore.LoseResponse(), "500": faultstore.FailBefore(),
		"503": faultstore.Throttle(), "hang": faultstore.HangBefore(), "slow": faultstore.DelayAnswer(3 * time.Second),
		"cut": faultstore.CutRead(), "short": faultstore.ShortenRead(), "corrupt": faultstore.CorruptRead(),
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFaultFixture(t)
			e := f.chain.add(t, f.j, Edits, "payload")
			f.chain.snapshot(t, f.j, "a state of several parts")
			for _, prefix := range []string{f.j.keys.slots, f.j.keys.manifests, f.j.keys.parts} {
				for _, op := range []string{objstore.OpGet, objstore.OpList} {
					f.fs.Add(faultstore.Rule{Op: op, Prefix: prefix, Times: 2, Fault: fault})
				}
			}
			if got, err := f.j.Read(t.Context(), e.Slot); err != nil || !reflect.DeepEqual(got, *e) {
				t.Errorf("got %+v, %v", got, err)
			}
			if got, err := f.j.After(t.Context(), 0, 10); err != nil || !slices.Equal(got, []Slot{1, 2}) {
				t.Errorf("got %v, %v", got, err)
			}
			info, err := f.j.LatestSnapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := readBack(t, f.j, info); got != "a state of several parts" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestLateLandingWhileAnotherWrote lets a PUT that nobody answered land before
// or after another writer's claim.
func TestLateLandingWhileAnotherWrote(t *testing.T) {
	for _, fault := range []faultstore.Fault{faultstore.LandLate(0), faultstore.HangThenLand(0)} {
		inBubble(t, "claim first", func(t *testing.T) {
			f := newFaultFixture(t)
			other := *f.chain
			claimer := open(t, f.store)
			f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: fault})
			f.fs.SetHook(onFirst(objstore.OpGet, func() { other.add(t, claimer, Claim, "") }))
			e := f.chain.entry(Edits, "too late")
			_, err := f.j.Write(t.Context(), e)
			var taken *TakenError
			if !errors.As(err, &taken) || !errors.Is(err, ErrSlotTaken) || taken.Entry.Nonce != other.prev {
				t.Fatalf("got %v", err)
			}
			f.settle()
			if got, err := f.j.Read(t.Context(), e.Slot); err != nil || got.Nonce != other.prev {
				t.Errorf("got %+v, %v", got, err)
			}
		})
		inBubble(t, "entry first", func(t *testing.T) {
			f := newFaultFixture(t)
			other := *f.chain
			claimer := open(t, f.store)
			f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: fault})
			e := f.chain.entry(Edits, "in time")
			f.fs.SetHook(onSecond(objstore.OpPutIfAbsent, func() {
				f.fs.Land()
				_, err := claimer.WriteClaim(t.Context(), other.entry(Claim, ""))
				if taken := (*TakenError)(nil); !errors.As(err, &taken) || taken.Entry.Nonce != e.Nonce {
					t.Errorf("the claimer got %v", err)
				}
			}))
			if written, err := f.j.Write(t.Context(), e); err != nil || written.First {
				t.Errorf("got %+v, %v", written, err)
			}
		})
	}
}

func onFirst(op string, do func()) faultstore.Hook  { return onNth(1, op, do) }
func onSecond(op string, do func()) faultstore.Hook { return onNth(2, op, do) }

// onNth calls do before the nth request of an operation, once.
func onNth(n int, op string, do func()) faultstore.Hook {
	return func(o, _ string) {
		if o != op {
			return
		}
		if n--; n == 0 {
			do()
		}
	}
}

// TestOneBodyPerSlot loses the answer to a PUT that lands after it was found
// missing: the body of the repeat must be the one that landed.
func TestOneBodyPerSlot(t *testing.T) {
	inBubble(t, "late landing", func(t *testing.T) {
		f := newFaultFixture(t)
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: faultstore.HangThenLand(0)})
		f.fs.SetHook(onSecond(objstore.OpPutIfAbsent, func() { f.fs.Land() }))
		e := f.chain.entry(Edits, "payload")
		if written, err := f.j.Write(t.Context(), e); err != nil || written.First {
			t.Fatalf("got %+v, %v", written, err)
		}
		if got, err := f.j.Read(t.Context(), e.Slot); err != nil || !reflect.DeepEqual(got, *e) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestForeignEntryIsNotTakenForOwn is what the comparison of nonces is for: the
// PUT has no effect, and a claim lands before the slot is read back.
func TestForeignEntryIsNotTakenForOwn(t *testing.T) {
	for name, fault := range map[string]faultstore.Fault{
		"412": {}, "500": faultstore.FailBefore(), "no answer": faultstore.HangBefore(),
	} {
		inBubble(t, name, func(t *testing.T) {
			f := newFaultFixture(t)
			other := *f.chain
			claim := other.add(t, open(t, f.store), Claim, "")
			f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: fault})
			_, err := f.j.Write(t.Context(), f.chain.entry(Edits, "from a deposed writer"))
			var taken *TakenError
			if !errors.As(err, &taken) || taken.Entry.Nonce != claim.Nonce {
				t.Errorf("got %v", err)
			}
		})
	}
}

// refusing is a bucket whose conditional PUTs are refused while on.
type refusing struct {
	objstore.Bucket
	on bool
}

func (r *refusing) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	if r.on {
		return objstore.Receipt{}, &objstore.Error{Op: objstore.OpPutIfAbsent, Key: key, Outcome: objstore.NotCommitted, Err: objstore.ErrRefused}
	}
	return r.Bucket.PutIfAbsent(ctx, key, body)
}

func TestWriteThatGivesUp(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	inBubble(t, "before anything was sent", func(t *testing.T) {
		f := newFaultFixture(t)
		_, err := f.j.Write(over, f.chain.entry(Edits, ""))
		if !errors.Is(err, ErrNotWritten) || errors.Is(err, ErrUnsettled) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if n := f.fs.Count(objstore.OpPutIfAbsent); n != 2 {
			t.Errorf("%d PUTs, want those of genesis and the claim", n)
		}
	})
	inBubble(t, "in a resumed slot", func(t *testing.T) {
		f := newFaultFixture(t)
		if _, err := f.j.Settle(over, f.chain.entry(Edits, "")); !errors.Is(err, ErrUnsettled) || errors.Is(err, ErrNotWritten) {
			t.Errorf("got %v", err)
		}
	})
	inBubble(t, "while all is refused", func(t *testing.T) {
		f := newFaultFixture(t)
		bucket := &refusing{Bucket: f.fs, on: true}
		j := open(t, bucket)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := j.Write(ctx, f.chain.entry(Edits, ""))
		if !errors.Is(err, ErrNotWritten) || !errors.Is(err, objstore.ErrRefused) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		// What was refused may be written as if for the first time.
		bucket.on = false
		if written, err := j.Write(t.Context(), f.chain.entry(Edits, "")); err != nil || !written.First {
			t.Errorf("got %+v, %v", written, err)
		}
	})
	inBubble(t, "while the store is away", func(t *testing.T) {
		f := newFaultFixture(t)
		f.fs.SetOutage(faultstore.Hanging)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		e := f.chain.entry(Edits, "")
		if _, err := f.j.Write(ctx, e); !errors.Is(err, ErrUnsettled) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		f.fs.SetOutage(faultstore.Up)
		if written, err := f.j.Settle(t.Context(), e); err != nil || written.First {
			t.Errorf("got %+v, %v", written, err)
		}
	})
	inBubble(t, "after a PUT that landed, then refusals", func(t *testing.T) {
		f := newFaultFixture(t)
		bucket := &refusing{Bucket: f.fs}
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Fault: faultstore.LandLate(5 * time.Second)})
		f.fs.SetHook(onFirst(objstore.OpGet, func() { bucket.on = true }))
		if written, err := open(t, bucket).Write(t.Context(), f.chain.entry(Edits, "")); err != nil || written.First {
			t.Errorf("got %+v, %v", written, err)
		}
	})
}

func TestWriteRefusesWhatCannotBeStored(t *testing.T) {
	f := newFaultFixture(t)
	long := f.chain.entry(Edits, strings.Repeat("x", EntryBytesMax))
	if _, err := f.j.Write(t.Context(), long); !errors.Is(err, ErrEntryTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := f.j.WriteClaim(t.Context(), f.chain.entry(Edits, "")); !errors.Is(err, ErrInvalidEntry) {
		t.Errorf("got %v", err)
	}
	if slots := slotsOf(f.j, f.store); len(slots) != 2 {
		t.Errorf("slots %v", slots)
	}
}

func TestClaimWithoutListingIsUnverified(t *testing.T) {
	inBubble(t, "listing refused", func(t *testing.T) {
		f := newFaultFixture(t)
		f.fs.Add(faultstore.Rule{Op: objstore.OpList, Times: faultstore.Always, Fault: faultstore.FailBefore()})
		_, err := f.j.WriteClaim(t.Context(), f.chain.entry(Claim, ""))
		if !errors.Is(err, ErrClaimUnverified) {
			t.Errorf("got %v", err)
		}
	})
}

// TestUnansweredPUTIsRepeatedAfterTheTimeout watches the times of the PUTs.
func TestUnansweredPUTIsRepeatedAfterTheTimeout(t *testing.T) {
	inBubble(t, "hanging store", func(t *testing.T) {
		f := newFaultFixture(t)
		begun := time.Now()
		var sent []time.Duration
		f.fs.SetHook(func(op, _ string) {
			if op == objstore.OpPutIfAbsent {
				sent = append(sent, time.Since(begun))
			}
		})
		f.fs.Add(faultstore.Rule{Op: objstore.OpPutIfAbsent, Times: 3, Fault: faultstore.HangBefore()})
		if _, err := f.j.Write(t.Context(), f.chain.entry(Edits, "")); err != nil {
			t.Fatal(err)
		}
		// A pause of 20, 40, 80 ms; a timeout that doubles until an answer comes,
		// and each read-back is one.
		want := []time.Duration{0, 1020 * time.Millisecond, 2060 * time.Millisecond, 3140 * time.Millisecond}
		if !slices.Equal(sent, want) {
			t.Errorf("PUTs sent at %v, want %v", sent, want)
		}
	})
}

// TestSnapshotAgainstAnotherWriter loses the manifest's race in every way.
func TestSnapshotAgainstAnotherWriter(t *testing.T) {
	for name, fault := range writeFaults {
		inBubble(t, name, func(t *testing.T) {
			f := newFaultFixture(t)
			other := open(t, f.store, smallParts)
			theirs := f.chain.snapshot(t, other, "what the other node wrote")
			f.fault = fault
			f.inject(objstore.OpPutIfAbsent, f.j.keys.manifests)
			got, err := f.j.WriteSnapshot(t.Context(), f.chain.info(), oneChunk("what this node wrote"))
			if err != nil || !reflect.DeepEqual(got, theirs) {
				t.Fatalf("got %+v, %v, want %+v", got, err, theirs)
			}
			f.settle()
			if got := readBack(t, f.j, got); got != "what the other node wrote" {
				t.Errorf("got %q", got)
			}
			if n := partsOf(f.j, f.store); n != len(theirs.Parts) {
				t.Errorf("%d parts, want %d", n, len(theirs.Parts))
			}
		})
	}
}

// TestUnsettledManifestKeepsItsParts gives up while the manifest may land yet.
func TestUnsettledManifestKeepsItsParts(t *testing.T) {
	inBubble(t, "lands later", func(t *testing.T) {
		f := newFaultFixture(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f.fs.Add(
			faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.manifests, Fault: faultstore.HangThenLand(0)},
			faultstore.Rule{Op: objstore.OpPutIfAbsent, Prefix: f.j.keys.manifests, Times: faultstore.Always, Fault: faultstore.HangBefore()},
		)
		_, err := f.j.WriteSnapshot(ctx, f.chain.info(), oneChunk("a state of several parts"))
		if !errors.Is(err, ErrUnsettled) {
			t.Fatalf("got %v", err)
		}
		f.fs.Reset()
		f.fs.Land()
		info, err := f.j.LatestSnapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := readBack(t, f.j, info); got != "a state of several parts" {
			t.Errorf("got %q", got)
		}
	})
}

// TestFailedPartLeavesNoSnapshot fails a part for good.
func TestFailedPartLeavesNoSnapshot(t *testing.T) {
	inBubble(t, "second part", func(t *testing.T) {
		f := newFaultFixture(t)
		before := f.store.Keys()
		f.fs.Add(faultstore.Rule{Op: objstore.OpPut, Skip: 1, Times: faultstore.Always, Fault: faultstore.FailBefore()})
		if _, err := f.j.WriteSnapshot(t.Context(), f.chain.info(), oneChunk("a state of several parts")); !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if after := f.store.Keys(); !slices.Equal(after, before) {
			t.Errorf("left behind: %v", after)
		}
	})
}
