package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wadilog/wadi/internal/failpoint"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
)

// Written is how Write settled a slot in the caller's favour.
type Written struct {
	// First tells that the first PUT was answered 200 and no other was sent: only
	// then does the write prove that the writer still led when the PUT was sent.
	First bool
}

// Write puts e into its slot and returns when the slot is settled: nil if e is
// there, a *TakenError (ErrSlotTaken) if another entry is. It must be the first
// call for this entry; a slot that an earlier call left unsettled is for Settle.
//
// It sends the same body at every repeat, reads back after every 412 and every
// ambiguous error, and compares nonces. It gives up only when ctx ends:
// ErrUnsettled if the entry may be there or may appear yet, and then the only
// body that may be sent for this slot is the same one; ErrNotWritten if nothing
// was sent or the store refused it all, and then the slot is as it was. Both
// wrap the cause of ctx and the store's last error. An entry that cannot be
// stored is ErrInvalidEntry.
func (j *Journal) Write(ctx context.Context, e *Entry) (Written, error) {
	return j.write(ctx, e, false)
}

// Settle goes on with a slot that Write, WriteClaim or Settle left unsettled.
// The entry must be the same to the last byte. It is as Write, but its result is
// never First, and it never returns ErrNotWritten, since the earlier PUTs count.
func (j *Journal) Settle(ctx context.Context, e *Entry) (Written, error) {
	return j.write(ctx, e, true)
}

func (j *Journal) write(ctx context.Context, e *Entry, resumed bool) (Written, error) {
	if err := e.Validate(); err != nil {
		return Written{}, err
	}
	begun := time.Now()
	var found Entry
	s := settlement{
		j: j, key: j.keys.slot(e.Slot), body: e.Append(make([]byte, 0, e.EncodedLen())), inDoubt: resumed,
		hedged: e.Kind == Edits && !resumed,
		readBack: func(body []byte) (bool, error) {
			err := decodeInto(&found, e.Slot)(body)
			return found.Nonce == e.Nonce, err
		},
	}
	if mutant.On(mutant.SkipOneBodyPerSlot) {
		renewed := *e
		e = &renewed
		s.renew = func() []byte {
			e.Nonce = NewNonce()
			return e.Append(nil)
		}
	}
	won, err := s.run(ctx)
	result := resultCommitted
	switch {
	case err != nil && s.inDoubt:
		result, err = resultUnsettled, fmt.Errorf("write slot %d: %w: %w", e.Slot, ErrUnsettled, err)
	case err != nil:
		result, err = resultNotWritten, fmt.Errorf("write slot %d: %w: %w", e.Slot, ErrNotWritten, err)
	case !won:
		result, err = resultTaken, &TakenError{Entry: found}
	}
	j.metrics.writes.WithLabelValues(e.Kind.String(), result).Inc()
	if result == resultCommitted || result == resultTaken {
		j.metrics.settle.Observe(time.Since(begun).Seconds())
	}
	if err != nil {
		return Written{}, err
	}
	j.metrics.entryBytes.Add(float64(len(s.body)))
	return Written{First: s.first && !resumed}, nil
}

// settlement puts one body under one key, if absent, until it is known whose
// object is there. A slot and a manifest are settled in the same way.
type settlement struct {
	j        *Journal
	key      string
	body     []byte
	readBack func(body []byte) (ours bool, err error) // judges the object found under key
	renew    func() []byte                            // another body for each repeat; only in a mutant

	hedged bool // the first PUT may be hedged

	puts    int  // sent by this settlement
	first   bool // the first PUT was answered 200, and was the only one
	inDoubt bool // one that was sent may be there, or may land yet
	last    error
}

// slowSettlementPuts is after how many PUTs a settlement is worth a line in the log.
const slowSettlementPuts = 10

// run returns whether the object under key is ours. Its error is that ctx ended
// before that was known.
func (s *settlement) run(ctx context.Context) (won bool, err error) {
	p := s.j.pace(len(s.body))
	for ctx.Err() == nil {
		if s.put(ctx, p) == nil {
			return true, nil
		}
		if s.inDoubt {
			if mutant.On(mutant.SkipNonceReadBack) {
				return true, nil
			}
			if settled, ours := s.look(ctx, p); settled {
				return ours, nil
			}
		}
		if s.puts == slowSettlementPuts {
			s.j.logger.Warn("an object of the journal is not settled yet", "key", s.key, "puts", s.puts, "err", s.last)
		}
		p.pause(ctx)
	}
	return false, errors.Join(context.Cause(ctx), s.last)
}

// put sends the body once.
func (s *settlement) put(ctx context.Context, p *pace) error {
	if s.puts > 0 {
		s.j.metrics.repeats.Inc()
		if s.renew != nil {
			s.body = s.renew()
		}
	}
	s.puts++
	failpoint.Hit("journal/before-put")
	err := p.attempt(ctx, func(ctx context.Context) error {
		if s.hedged && s.puts == 1 {
			return s.putHedged(ctx)
		}
		receipt, err := s.j.bucket.PutIfAbsent(ctx, s.key, s.body)
		s.j.observeDate(receipt.Date)
		return err
	})
	failpoint.Hit("journal/after-put")
	if err == nil {
		s.first = s.puts == 1
		return nil
	}
	s.last = err
	s.doubt(err)
	return err
}

// doubt takes note of what a PUT was answered that did not succeed.
func (s *settlement) doubt(err error) {
	// A 412 says that something is there, not that it is another's: the request
	// may have been repeated below us, on the network or in the store.
	if errors.Is(err, objstore.ErrExists) || objstore.OutcomeOf(err) != objstore.NotCommitted {
		s.inDoubt = true
	}
}

// look reads the object under key. Finding none settles nothing, since a PUT
// that was sent may land later.
func (s *settlement) look(ctx context.Context, p *pace) (settled, ours bool) {
	s.j.metrics.readBacks.Inc()
	err := p.attempt(ctx, func(ctx context.Context) error {
		return s.j.getOnce(ctx, s.key, func(body []byte) (err error) {
			ours, err = s.readBack(body)
			return err
		})
	})
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		s.last = err
	}
	return err == nil, ours
}
