package catalogtest

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"
)

// Fault is what becomes of one request. The zero value is none.
type Fault struct {
	// Delay is how long the request travels. A sender that gives up meanwhile
	// does not call it back.
	Delay time.Duration
	// Lost requests never arrive.
	Lost bool
	// AnswerDelay is how long the answer travels.
	AnswerDelay time.Duration
	// AnswerLost requests are served, and the sender does not learn it.
	AnswerLost bool
	// Silent says that a loss is noticed by nothing but the sender's patience;
	// otherwise the sender is told at once that the connection broke.
	Silent bool
	// Again lets the request arrive once more, that long after it was sent,
	// whether or not it arrived before; 0 for not. Nobody waits for the answer.
	Again time.Duration
}

// LoseRequest breaks the connection before the request arrives.
func LoseRequest() Fault { return Fault{Lost: true} }

// LoseAnswer breaks the connection after the request was served.
func LoseAnswer() Fault { return Fault{AnswerLost: true} }

// Swallow loses a request without a word.
func Swallow() Fault { return Fault{Lost: true, Silent: true} }

// SwallowAnswer serves a request and loses the answer without a word.
func SwallowAnswer() Fault { return Fault{AnswerLost: true, Silent: true} }

// ArriveLate breaks the connection; the request arrives nevertheless, later.
func ArriveLate(after time.Duration) Fault { return Fault{Lost: true, Again: after} }

// Repeat lets a request arrive once more.
func Repeat(after time.Duration) Fault { return Fault{Again: after} }

// Probabilities are the chances, from 0 to 1, of each fault at a request. The
// sum of the first four should stay below 1.
type Probabilities struct {
	LoseRequest float64 // noticed or silent, at even chances
	LoseAnswer  float64 // noticed or silent, at even chances
	Repeat      float64
	ArriveLate  float64
	LateMax     time.Duration // of Repeat and ArriveLate, drawn evenly

	Delay    float64       // of request and answer; drawn on its own, and added to any other fault
	DelayMax time.Duration // of Delay, drawn evenly
}

// draw chooses the fault of the nth request of a kind between two nodes.
func (p Probabilities) draw(seed uint64, kind, from, to string, n int) Fault {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind + " " + from + " " + to + " " + strconv.Itoa(n)))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))

	f := p.pick(rng)
	if p.DelayMax > 0 && rng.Float64() < p.Delay {
		f.Delay = time.Duration(rng.Int64N(int64(p.DelayMax)))
	}
	if p.DelayMax > 0 && rng.Float64() < p.Delay {
		f.AnswerDelay = time.Duration(rng.Int64N(int64(p.DelayMax)))
	}
	return f
}

func (p Probabilities) pick(rng *rand.Rand) Fault {
	silent := rng.IntN(2) == 0
	late := 1 + time.Duration(rng.Int64N(max(1, int64(p.LateMax))))
	at := rng.Float64()
	for _, choice := range []struct {
		chance float64
		fault  Fault
	}{
		{p.LoseRequest, Fault{Lost: true, Silent: silent}},
		{p.LoseAnswer, Fault{AnswerLost: true, Silent: silent}},
		{p.Repeat, Repeat(late)},
		{p.ArriveLate, Fault{Lost: true, Silent: silent, Again: late}},
	} {
		if at < choice.chance {
			return choice.fault
		}
		at -= choice.chance
	}
	return Fault{}
}
