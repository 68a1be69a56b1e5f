package faultstore

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// Always as Rule.Times makes a rule fire at every match.
const Always = -1

// Rule says which requests meet a fault. Each rule counts the requests that it
// matches, whether or not an earlier rule decides them.
type Rule struct {
	Op     string // one of objstore's Op constants; "" matches every operation
	Prefix string // of the key, or of the prefix that is listed
	Skip   int    // how many matching requests pass before the rule fires
	Times  int    // how many it then hits; 0 means one, Always has no end
	Fault  Fault
}

type ruleState struct {
	Rule
	seen int // requests that matched so far
}

// match counts the request and tells whether the rule fires.
func (r *ruleState) match(op, key string) bool {
	if (r.Op != "" && r.Op != op) || !strings.HasPrefix(key, r.Prefix) {
		return false
	}
	r.seen++
	times := max(r.Times, 1)
	return r.seen > r.Skip && (r.Times == Always || r.seen <= r.Skip+times)
}

// Probabilities are the chances, from 0 to 1, of each fault at a request that it
// can befall. Their sum should stay below 1.
type Probabilities struct {
	FailBefore   float64
	FailAfter    float64
	LoseRequest  float64
	LoseResponse float64
	Throttle     float64
	Hang         float64 // with an effect or without one, at even chances

	// Writes only.
	Conflict         float64 // put-if-absent
	ExistsByOwnWrite float64 // put-if-absent
	LandLate         float64 // put, put-if-absent, delete

	// Reads of objects only.
	CutRead     float64
	ShortenRead float64
	CorruptRead float64

	Delay    float64       // drawn on its own, and added to any other fault
	DelayMax time.Duration // of Delay, drawn evenly
	LateMax  time.Duration // of LandLate, drawn evenly; 0 waits for Land

	Prefix string // keys that faults befall
}

// draw chooses the fault of the nth request of an operation on a key.
func (p Probabilities) draw(seed uint64, op, key string, n int) Fault {
	if !strings.HasPrefix(key, p.Prefix) {
		return Fault{}
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(op + " " + key + " " + strconv.Itoa(n)))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))

	fault := p.pick(rng, op)
	if p.DelayMax > 0 && rng.Float64() < p.Delay {
		fault.Delay = time.Duration(rng.Int64N(int64(p.DelayMax)))
	}
	return fault
}

func (p Probabilities) pick(rng *rand.Rand, op string) Fault {
	write := op == objstore.OpPut || op == objstore.OpPutIfAbsent || op == objstore.OpDelete
	read := op == objstore.OpGet || op == objstore.OpGetRange
	conditional := op == objstore.OpPutIfAbsent

	hang, late := HangBefore(), LandLate(0)
	if rng.IntN(2) == 0 {
		hang = HangAfter()
	}
	if p.LateMax > 0 {
		late.LandAfter = 1 + time.Duration(rng.Int64N(int64(p.LateMax)))
	}
	at := rng.Float64()
	for _, choice := range []struct {
		applies bool
		chance  float64
		fault   Fault
	}{
		{true, p.FailBefore, FailBefore()},
		{true, p.FailAfter, FailAfter()},
		{true, p.LoseRequest, LoseRequest()},
		{true, p.LoseResponse, LoseResponse()},
		{true, p.Throttle, Throttle()},
		{true, p.Hang, hang},
		{conditional, p.Conflict, RefuseAsConflict()},
		{conditional, p.ExistsByOwnWrite, ExistsByOwnWrite()},
		{write, p.LandLate, late},
		{read, p.CutRead, CutRead()},
		{read, p.ShortenRead, ShortenRead()},
		{read, p.CorruptRead, CorruptRead()},
	} {
		if !choice.applies {
			continue
		}
		if at < choice.chance {
			return choice.fault
		}
		at -= choice.chance
	}
	return Fault{}
}
