package catalog

import (
	"context"
	"fmt"

	"github.com/wadilog/wadi/catalog/journal"
)

// ErrLostPlace says that a Replay cannot go on from where it stands: the slots
// after it were deleted below newer snapshots, or what it followed was a claim
// that never was in force. Another one goes on from the newest snapshot.
var ErrLostPlace = errReload

// Replay is a replica outside of any node. It reads a journal, compares every
// outcome with its own, and writes nothing. It has one owner.
type Replay struct{ replica replica }

// ReplayFromGenesis begins with the entry of slot 0.
func ReplayFromGenesis(e *journal.Entry) (*Replay, error) {
	r, err := replicaOfGenesis(e)
	if err != nil {
		return nil, err
	}
	r.known = FeatureLevel
	return &Replay{replica: *r}, nil
}

// ReplayFromSnapshot begins with the state that a snapshot holds.
func ReplayFromSnapshot(info journal.SnapshotInfo, s *State) *Replay {
	return &Replay{replica: replica{
		state:  s,
		last:   info.Slot,
		nonce:  info.Nonce,
		epoch:  info.Epoch,
		claims: info.Claims,
		known:  FeatureLevel,
	}}
}

// Apply carries out entries that follow the last one, all or none. The error is
// ErrLostPlace, a *DivergedError, that of DecodeEdits or a *NewerLevelError.
func (p *Replay) Apply(entries []journal.Entry) error {
	return p.replica.applyAll(entries, newTouched())
}

// Follow reads and applies all that follows, until a listing shows nothing
// more. Slots that are gone are ErrLostPlace.
func (p *Replay) Follow(ctx context.Context, j *journal.Journal) error {
	cfg := DefaultConfig()
	return p.replica.follow(ctx, j, cfg.readAhead())
}

// State is a view of what was applied.
func (p *Replay) State() *State { return p.replica.state.Clone() }

// Last is the slot of the last entry that was applied.
func (p *Replay) Last() journal.Slot { return p.replica.last }

// Info is what the manifest of a snapshot of this state says, but for its parts.
func (p *Replay) Info() journal.SnapshotInfo { return p.replica.snapshotInfo() }

// VerifySnapshot decodes a snapshot, and tells whether a replica could start
// from it and it holds what its manifest says. read passes the parts in order.
func VerifySnapshot(info journal.SnapshotInfo, read func(decode func(part []byte) error) error) (*State, error) {
	var dec StateDecoder
	if err := read(dec.Write); err != nil {
		return nil, err
	}
	state, err := dec.State()
	if err != nil {
		return nil, err
	}
	if state.Time() != info.Time || state.Level() != info.Level {
		return nil, fmt.Errorf("it is of time %d and level %d, its manifest of %d and %d", state.Time(), state.Level(), info.Time, info.Level)
	}
	return state, CheckAll(state)
}
