package faultstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// Outage is a state of the whole store.
type Outage uint8

const (
	// Up is the normal state.
	Up Outage = iota
	// Refusing fails every request at once, without effect.
	Refusing
	// Hanging answers nothing until the context of the request ends.
	Hanging
)

// Store is an objstore.Bucket that injects faults into another one.
type Store struct {
	inner objstore.Bucket

	mu            sync.Mutex
	rules         []*ruleState    // guarded by mu
	seed          uint64          // guarded by mu
	probabilities Probabilities   // guarded by mu
	met           map[request]int // requests so far, for draws and Count; guarded by mu
	outage        Outage          // guarded by mu
	skew          time.Duration   // guarded by mu
	before, after Hook            // guarded by mu
	late          []*landing      // in the order they were sent; guarded by mu
}

// Hook is called with the operation and its key, or the prefix for listings. It
// may block, and may change the store's faults.
type Hook func(op, key string)

type request struct{ op, key string }

// landing is a write that was answered and has yet to take effect.
type landing struct {
	request
	effect func(context.Context) error
	timer  *time.Timer // nil if it waits for Land
}

// Landed is a late write that took effect, or came too late: Err is what the
// store said to it.
type Landed struct {
	Op, Key string
	Err     error
}

var _ objstore.Bucket = (*Store)(nil)

// New wraps inner. Without rules it does nothing but count.
func New(inner objstore.Bucket, rules ...Rule) *Store {
	s := &Store{inner: inner, met: make(map[request]int)}
	s.Add(rules...)
	return s
}

// Add appends rules. Of those that fire at a request, the first decides.
func (s *Store) Add(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &ruleState{Rule: r})
	}
}

// Reset ends all rules, random faults, the outage and the skew. Late writes stay
// under way.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.probabilities, s.outage, s.skew = nil, Probabilities{}, Up, 0
}

// Randomize draws a fault for every request that no rule decides.
func (s *Store) Randomize(seed uint64, p Probabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed, s.probabilities = seed, p
}

// SetOutage changes the state of the whole store for requests that begin from
// now on.
func (s *Store) SetOutage(o Outage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = o
}

// SetDown is SetOutage to Refusing or Up.
func (s *Store) SetDown(down bool) {
	if down {
		s.SetOutage(Refusing)
	} else {
		s.SetOutage(Up)
	}
}

// SetSkew adds d to the Date of every answer.
func (s *Store) SetSkew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// SetHook sets what is called before each request, before its fault is chosen.
func (s *Store) SetHook(before Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// SetAfterHook sets what is called after the effect of each request that reached
// the store and before its answer.
func (s *Store) SetAfterHook(after Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = after
}

// Count returns how many requests of an operation were made so far; "" counts all.
func (s *Store) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for r, n := range s.met {
		if op == "" || r.op == op {
			sum += n
		}
	}
	return sum
}

// Pending returns how many late writes have yet to take effect.
func (s *Store) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.late)
}

// Land lets every late write take effect now, in the order they were sent.
func (s *Store) Land() []Landed {
	var landed []Landed
	for {
		l, ok := s.LandNext()
		if !ok {
			return landed
		}
		landed = append(landed, l)
	}
}

// LandNext lets the oldest late write take effect now, if there is one.
func (s *Store) LandNext() (Landed, bool) {
	s.mu.Lock()
	if len(s.late) == 0 {
		s.mu.Unlock()
		return Landed{}, false
	}
	l := s.late[0]
	s.mu.Unlock()
	ok, err := s.land(l)
	if !ok { // its timer was faster
		return s.LandNext()
	}
	return Landed{Op: l.op, Key: l.key, Err: err}, true
}

// DropLate forgets the late writes: they never take effect.
func (s *Store) DropLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.late {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	s.late = nil
}

// land lets a late write take effect, unless that happened already.
func (s *Store) land(l *landing) (bool, error) {
	s.mu.Lock()
	i := slices.Index(s.late, l)
	if i < 0 {
		s.mu.Unlock()
		return false, nil
	}
	s.late = slices.Delete(s.late, i, i+1)
	if l.timer != nil {
		l.timer.Stop()
	}
	s.mu.Unlock()
	return true, l.effect(context.Background())
}

func (s *Store) postpone(r request, effect func(context.Context) error, after time.Duration) {
	l := &landing{request: r, effect: effect}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, l)
	if after > 0 {
		l.timer = time.AfterFunc(after, func() { _, _ = s.land(l) })
	}
}

// decide counts a request and chooses its fault.
func (s *Store) decide(r request) Fault {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(r.op, r.key)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.met[r]++
	fault, decided := Fault{}, false
	for _, rule := range s.rules {
		if rule.match(r.op, r.key) && !decided {
			fault, decided = rule.Fault, true
		}
	}
	if !decided {
		fault = s.probabilities.draw(s.seed, r.op, r.key, s.met[r])
	}
	switch s.outage {
	case Refusing:
		fault = LoseRequest()
	case Hanging:
		fault = HangBefore()
	case Up:
	}
	fault.Skew += s.skew
	return fault
}

func (s *Store) afterHook() Hook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.after
}

// answer is what a request brings back: exactly one of the fields is used.
type answer struct {
	object  objstore.Object
	receipt objstore.Receipt
	page    objstore.Page
	uploads []objstore.Upload
}

// call is a request to the inner store.
type call struct {
	request
	write bool
	do    effect
	// keep returns do with a copy of the body that outlives the request; nil
	// if the request cannot land late.
	keep func() (effect, error)
}

func (s *Store) run(ctx context.Context, c call) (answer, error) {
	fault := s.decide(c.request)
	if err := sleep(ctx, fault.Delay); err != nil {
		return answer{}, c.unanswered(err)
	}
	var a answer
	var err error
	reached := false
	switch {
	case fault.Effect == Applied:
		a, err = c.do(ctx)
		reached = true
		if after := s.afterHook(); after != nil {
			after(c.op, c.key)
		}
	case fault.Effect == Late && c.keep != nil:
		do, keepErr := c.keep()
		if keepErr != nil {
			return answer{}, c.failure(objstore.NotCommitted, time.Time{}, keepErr)
		}
		s.postpone(c.request, func(ctx context.Context) error {
			_, err := do(ctx)
			return err
		}, fault.LandAfter)
	}
	if err := sleep(ctx, fault.DelayAfter); err != nil {
		return answer{}, c.unanswered(err)
	}
	switch fault.Answer {
	case Honest, Cut, Short, Corrupt: // these need an answer of the store
		if !reached {
			fault.Answer = Lost
		}
	}
	return c.pretend(ctx, fault, a, err)
}

// pretend gives the answer that the fault asks for.
func (c call) pretend(ctx context.Context, fault Fault, a answer, err error) (answer, error) {
	date := dateOf(a, err)
	if date.IsZero() {
		date = time.Now().UTC().Truncate(time.Second)
	}
	date = date.Add(fault.Skew)
	switch fault.Answer {
	case Failed:
		return answer{}, c.failure(objstore.Unknown, date, fmt.Errorf("%w: injected status 500", objstore.ErrUnavailable))
	case Throttled:
		return answer{}, c.failure(objstore.Unknown, date, fmt.Errorf("%w: injected status 503", objstore.ErrThrottled))
	case Conflict:
		return answer{}, c.failure(objstore.NotCommitted, date, fmt.Errorf("%w: injected status 409", objstore.ErrConflict))
	case Exists:
		return answer{}, c.failure(objstore.NotCommitted, date, fmt.Errorf("%w: injected status 412", objstore.ErrExists))
	case Mangled:
		return answer{}, c.failure(objstore.NotCommitted, date, fmt.Errorf("%w: injected", objstore.ErrChecksum))
	case Hang:
		<-ctx.Done()
		return answer{}, c.unanswered(ctx.Err())
	case Honest, Cut, Short, Corrupt:
		a, err = skewed(a, err, fault.Skew)
		if err != nil || c.write {
			return a, err
		}
		return c.damage(fault.Answer, a)
	case Lost:
	}
	return answer{}, c.unanswered(fmt.Errorf("%w: injected loss of the connection", objstore.ErrUnavailable))
}

// damage spoils the body of a read.
func (c call) damage(how Answer, a answer) (answer, error) {
	body := a.object.Body
	if len(body) == 0 {
		return a, nil
	}
	middle := len(body) / 2
	switch how {
	case Cut:
		err := fmt.Errorf("%w: injected: %d of %d bytes: %w", objstore.ErrUnavailable, middle, len(body), io.ErrUnexpectedEOF)
		return answer{}, c.unanswered(err)
	case Short:
		a.object.Body = body[:middle]
		if a.object.Size == int64(len(body)) {
			a.object.Size = int64(middle)
		}
	case Corrupt:
		a.object.Body = bytes.Clone(body)
		a.object.Body[middle] ^= 0x10
	}
	return a, nil
}

// unanswered is the error of a request that got no answer: a write is in doubt.
func (c call) unanswered(err error) error {
	return c.failure(objstore.Unknown, time.Time{}, err)
}

func (c call) failure(outcome objstore.Outcome, date time.Time, err error) error {
	if !c.write {
		outcome = objstore.NotCommitted
	}
	return &objstore.Error{Op: c.op, Key: c.key, Outcome: outcome, Date: date, Err: err}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func dateOf(a answer, err error) time.Time {
	for _, date := range []time.Time{objstore.DateOf(err), a.object.Date, a.receipt.Date, a.page.Date} {
		if !date.IsZero() {
			return date
		}
	}
	return time.Time{}
}

func skewed(a answer, err error, skew time.Duration) (answer, error) {
	if skew == 0 {
		return a, err
	}
	for _, date := range []*time.Time{&a.object.Date, &a.receipt.Date, &a.page.Date} {
		if !date.IsZero() {
			*date = date.Add(skew)
		}
	}
	var failure *objstore.Error
	if errors.As(err, &failure) && !failure.Date.IsZero() {
		moved := *failure
		moved.Date = moved.Date.Add(skew)
		err = &moved
	}
	return a, err
}
