package linear

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

// op makes an operation on partition 0.
func op(call, end int64, r Request, a Response) porcupine.Operation {
	if a.Outcome.open() {
		end = math.MaxInt64
	}
	return porcupine.Operation{Input: r, Call: call, Output: a, Return: end}
}

func appends(digests ...Digest) Request {
	return Request{Kind: Append, Records: digests, Expected: None, Producer: None}
}

func expecting(offset int64, digests ...Digest) Request {
	r := appends(digests...)
	r.Expected = offset
	return r
}

func produces(sequence int64, digests ...Digest) Request {
	r := appends(digests...)
	r.Producer, r.Sequence = 7, sequence
	return r
}

func reads(offset int64) Request { return Request{Kind: Read, Offset: offset, Max: 100} }

func sees(high int64, digests ...Digest) Response { return Response{Records: digests, High: high} }

var (
	ends    = Request{Kind: EndOffset}
	inDoubt = Response{Outcome: InDoubt}
	refused = Response{Outcome: Refused}
)

func at(base int64) Response { return Response{Base: base} }

func again(base int64) Response { return Response{Base: base, Duplicate: true} }

func endIs(end int64) Response { return Response{End: end} }

// TestVerdicts checks histories that can and cannot be, one by one.
func TestVerdicts(t *testing.T) {
	type history = []porcupine.Operation
	for name, c := range map[string]struct {
		history history
		want    Verdict
	}{
		"one after another": {history{
			op(1, 2, appends(1, 2), at(0)), op(3, 4, appends(3), at(2)), op(5, 6, ends, endIs(3)), op(7, 8, reads(1), sees(3, 2, 3)),
		}, Linearizable},
		"at the same time":   {history{op(1, 4, appends(1), at(1)), op(2, 3, appends(2), at(0))}, Linearizable},
		"in the wrong order": {history{op(1, 2, appends(1), at(1)), op(3, 4, appends(2), at(0))}, Illegal},
		"an offset twice":    {history{op(1, 2, appends(1), at(0)), op(3, 4, appends(2), at(0))}, Illegal},
		"a gap":              {history{op(1, 2, appends(1), at(0)), op(3, 4, appends(2), at(2))}, Illegal},
		"a lost append":      {history{op(1, 2, appends(1), at(0)), op(3, 4, reads(0), sees(0))}, Illegal},
		"a stale end offset": {history{op(1, 2, appends(1), at(0)), op(3, 4, ends, endIs(0))}, Illegal},
		"an end offset that goes back": {history{
			op(1, 20, appends(1), at(0)), op(2, 3, ends, endIs(1)), op(4, 5, ends, endIs(0)),
		}, Illegal},
		"another record":             {history{op(1, 2, appends(1), at(0)), op(3, 4, reads(0), sees(1, 9))}, Illegal},
		"a shifted record":           {history{op(1, 2, appends(1, 2), at(0)), op(3, 4, reads(0), sees(2, 2))}, Illegal},
		"fewer records than are":     {history{op(1, 2, appends(1, 2), at(0)), op(3, 4, reads(0), sees(2, 1))}, Linearizable},
		"nothing where something is": {history{op(1, 2, appends(1, 2), at(0)), op(3, 4, reads(1), sees(2))}, Illegal},
		"a bound above the end":      {history{op(1, 2, appends(1, 2), at(0)), op(3, 4, reads(0), sees(3, 1, 2))}, Illegal},
		"out of range":               {history{op(1, 2, appends(1), at(0)), op(3, 4, reads(2), Response{Outcome: OutOfRange, End: 1})}, Linearizable},
		"out of range by a stale end": {history{
			op(1, 2, appends(1, 2), at(0)), op(3, 4, reads(2), Response{Outcome: OutOfRange, End: 1}),
		}, Illegal},

		"refused, and there": {history{op(1, 2, appends(1), refused), op(3, 4, reads(0), sees(1, 1))}, Illegal},
		"in doubt, and there": {history{
			op(1, 2, appends(1), inDoubt), op(3, 4, appends(2), at(0)), op(5, 6, ends, endIs(1)), op(7, 8, reads(0), sees(2, 2, 1)),
		}, Linearizable},
		"in doubt, and not there": {history{op(1, 2, appends(1), inDoubt), op(3, 4, appends(2), at(0)), op(5, 6, reads(0), sees(1, 2))}, Linearizable},
		"in doubt, and there twice": {history{
			op(1, 2, appends(1), inDoubt), op(3, 4, appends(2), at(1)), op(5, 6, reads(0), sees(3, 1, 2, 1)),
		}, Illegal},
		"there before it was sent": {history{op(1, 2, reads(0), sees(1, 1)), op(3, 4, appends(1), inDoubt)}, Illegal},
		"half of it":               {history{op(1, 2, appends(1, 2), inDoubt), op(3, 4, appends(3), at(1)), op(5, 6, reads(0), sees(2, 1, 3))}, Illegal},
		"there, and gone": {history{
			op(1, 2, appends(1), inDoubt), op(3, 4, reads(0), sees(1, 1)), op(5, 6, ends, endIs(0)),
		}, Illegal},

		"as expected":     {history{op(1, 2, expecting(0, 1), at(0)), op(3, 4, expecting(1, 2), at(1))}, Linearizable},
		"not as expected": {history{op(1, 2, appends(1), at(0)), op(3, 4, expecting(0, 2), at(1))}, Illegal},
		"a mismatch":      {history{op(1, 2, appends(1), at(0)), op(3, 4, expecting(0, 2), Response{Outcome: Mismatch, End: 1})}, Linearizable},
		"a mismatch of what fits": {history{
			op(1, 2, appends(1), at(0)), op(3, 4, expecting(1, 2), Response{Outcome: Mismatch, End: 1}),
		}, Illegal},
		"both won": {history{op(1, 4, expecting(0, 1), at(0)), op(2, 3, expecting(0, 2), at(0))}, Illegal},
		"expected, in doubt, elsewhere": {history{
			op(1, 2, expecting(0, 1), inDoubt), op(3, 4, appends(2), at(0)), op(5, 6, reads(0), sees(2, 2, 1)),
		}, Illegal},

		"a repeat":                   {history{op(1, 2, produces(0, 1), inDoubt), op(3, 4, produces(0, 1), again(0)), op(5, 6, produces(1, 2), at(1))}, Linearizable},
		"a repeat of what never was": {history{op(1, 2, produces(0, 1), again(0))}, Illegal},
		"a repeat that was not noticed": {history{
			op(1, 2, produces(0, 1), at(0)), op(3, 4, produces(0, 1), at(1)),
		}, Illegal},
		"a repeat with another offset": {history{
			op(1, 2, appends(9), at(0)), op(3, 4, produces(0, 1), at(1)), op(5, 6, produces(0, 1), again(0)),
		}, Illegal},
		"a gap in a sequence":          {history{op(1, 2, produces(1, 1), at(0))}, Illegal},
		"a gap in a sequence, refused": {history{op(1, 2, produces(1, 1), Response{Outcome: OutOfSequence, Due: 0})}, Linearizable},
		"a late first attempt": {history{
			op(1, 2, produces(0, 1), inDoubt), op(3, 4, produces(0, 1), inDoubt), op(5, 6, produces(0, 1), at(0)),
			op(7, 8, produces(1, 2), at(1)), op(9, 10, reads(0), sees(2, 1, 2)),
		}, Linearizable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verdict(Settle(c.history)); got != c.want {
				t.Errorf("the history is %s, expected %s", got, c.want)
			}
			if got := verdict(unsettled(c.history)); got != c.want {
				t.Errorf("without Settle the history is %s, expected %s", got, c.want)
			}
		})
	}
}

func verdict(history []porcupine.Operation) Verdict {
	return porcupine.CheckOperationsTimeout(Model, history, time.Minute)
}

// unsettled lets every append in doubt happen at any time.
func unsettled(history []porcupine.Operation) []porcupine.Operation {
	out := append([]porcupine.Operation(nil), history...)
	for i := range out {
		a := out[i].Output.(Response)
		a.Found, a.Unread = None, 0
		out[i].Output = a
	}
	return out
}

// TestSettleChangesNoVerdict makes small histories, most of a log that works and
// many spoilt afterwards.
func TestSettleChangesNoVerdict(t *testing.T) {
	verdicts := map[Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		history := randomHistory(rng)
		want := verdict(unsettled(history))
		if got := verdict(Settle(history)); got != want {
			for _, o := range history {
				t.Logf("%d to %d: %s", o.Call, o.Return, describe(o.Input, o.Output))
			}
			t.Fatalf("settled the history is %s, unsettled %s", got, want)
		}
		verdicts[want]++
	})
	if verdicts[Linearizable] < 10 || verdicts[Illegal] < 10 {
		t.Errorf("the histories were too much alike: %v", verdicts)
	}
}

// randomHistory has operations of three clients on a log that gives each its
// place at some moment between its call and its return, and then perhaps one
// answer changed.
func randomHistory(rng *rand.Rand) []porcupine.Operation {
	const clients = 3
	var l *log
	var clock int64
	var history []porcupine.Operation
	var late []Request // in doubt, and still to come
	pending := [clients]*porcupine.Operation{}
	placed := [clients]bool{}
	sequence, repeat := int64(0), Request{}
	for value := Digest(1); len(history) < 9; {
		clock++
		if len(late) > 0 && rng.IntN(4) == 0 {
			_, l = place(l, late[0])
			late = late[1:]
		}
		i := rng.IntN(clients)
		o := pending[i]
		switch {
		case o == nil:
			var r Request
			switch rng.IntN(6) {
			case 0, 1:
				r = appends(value)
				if rng.IntN(2) == 0 {
					r = expecting(l.end(), value)
				}
				value++
			case 2, 3: // one producer, which may repeat itself before it knows
				if repeat.Records == nil || rng.IntN(2) == 0 {
					repeat = produces(sequence, value)
					value++
					sequence++
				}
				r = repeat
			case 4:
				r = reads(rng.Int64N(l.end() + 2))
			default:
				r = ends
			}
			pending[i], placed[i] = &porcupine.Operation{ClientId: i, Input: r, Call: clock}, false
		case !placed[i]:
			r := o.Input.(Request)
			placed[i] = true
			if r.Kind == Append && rng.IntN(3) == 0 {
				o.Output = inDoubt
				if rng.IntN(2) == 0 {
					late = append(late, r)
				}
				break
			}
			var a Response
			a, l = place(l, r)
			o.Output = a
		default:
			a := o.Output.(Response)
			o.Return = clock
			if r := o.Input.(Request); a.Outcome == Done && r.Kind == Append && rng.IntN(6) == 0 {
				a = inDoubt
			}
			o.Output = a
			if a.Outcome.open() {
				o.Return = math.MaxInt64
			}
			history = append(history, *o)
			pending[i] = nil
		}
	}
	if rng.IntN(2) == 0 { // read what is there, as a run does in the end
		a, _ := place(l, reads(0))
		history = append(history, op(clock+1, clock+2, reads(0), a))
		a, _ = place(l, reads(l.end()))
		history = append(history, op(clock+3, clock+4, reads(l.end()), a))
	}
	if rng.IntN(2) == 0 {
		o := &history[rng.IntN(len(history))]
		a := o.Output.(Response)
		switch rng.IntN(4) {
		case 0:
			a.Base++
		case 1:
			a.End = max(0, a.End-1)
		case 2:
			a.Duplicate = !a.Duplicate
		case 3:
			if n := len(a.Records); n > 0 {
				a.Records = append(append([]Digest(nil), a.Records[:n-1]...), Digest(1+rng.IntN(6)))
			}
		}
		o.Output = a
	}
	return history
}

// place carries a request out.
func place(l *log, r Request) (Response, *log) {
	switch r.Kind {
	case Read:
		if r.Offset > l.end() {
			return Response{Outcome: OutOfRange, End: l.end()}, l
		}
		var records []Digest
		for m := l; m != nil && m.end() > r.Offset; m = m.before {
			from := max(0, r.Offset-m.base)
			records = append(append([]Digest(nil), m.batch.Records[from:]...), records...)
		}
		return sees(l.end(), records...), l
	case EndOffset:
		return endIs(l.end()), l
	}
	if r.Producer != None {
		base, duplicate, due := l.judge(r)
		switch {
		case duplicate:
			return again(base), l
		case r.Sequence != due:
			return Response{Outcome: OutOfSequence, Due: due}, l
		}
	}
	if r.Expected != None && r.Expected != l.end() {
		return Response{Outcome: Mismatch, End: l.end()}, l
	}
	return at(l.end()), l.append(r)
}
