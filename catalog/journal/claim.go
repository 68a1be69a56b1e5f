package journal

import (
	"context"
	"fmt"

	"github.com/wadilog/wadi/internal/mutant"
)

// WriteClaim writes a claim as Write does, then lists the slots after it: if
// there are any the claim fell into an old, deleted slot and is ErrVoidClaim.
// A claim is in force only after WriteClaim returned nil. If the listing failed
// it is ErrClaimUnverified.
//
// After any error but ErrNotWritten the claimer reloads. It need not settle the
// slot of an unsettled claim and may claim again with another entry: whichever
// of its claims lands in a slot, the other one finds it taken.
func (j *Journal) WriteClaim(ctx context.Context, e *Entry) (Written, error) {
	if e.Kind != Claim {
		return Written{}, fmt.Errorf("%w: slot %d: %v instead of a claim", ErrInvalidEntry, e.Slot, e.Kind)
	}
	written, err := j.Write(ctx, e)
	if err != nil || mutant.On(mutant.SkipListAfterClaim) {
		return written, err
	}
	after, err := j.After(ctx, e.Slot, 1)
	if err != nil {
		return Written{}, fmt.Errorf("claim slot %d: %w: %w", e.Slot, ErrClaimUnverified, err)
	}
	if len(after) > 0 {
		return Written{}, fmt.Errorf("claim slot %d: %w: slot %d is there", e.Slot, ErrVoidClaim, after[0])
	}
	return written, nil
}
