package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/internal/objstore"
)

// errReload says that the replica's place in the journal cannot be followed
// from: slots after it were deleted, or it had followed a void claim.
var errReload = errors.New("the replica lost its place in the journal")

// DivergedError is a replica that does not agree with the journal. It must not
// go on: either its memory or its code differs from the writer's.
type DivergedError struct {
	Slot   journal.Slot
	Reason string
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("catalog differs from the journal at slot %d: %s", e.Slot, e.Reason)
}

// replica is the state as of one entry of the journal.
type replica struct {
	state *State
	last  journal.Slot
	nonce journal.Nonce // of the entry in last
	epoch uint64        // of the newest claim
	// leader is the address in the newest claim, "" if there is none.
	leader string
	// atClaim tells that the entry in last is a claim.
	atClaim bool
	// claims are the slots of all claims up to last; snapshots name them.
	claims []journal.Slot
	// sinceSnapshot counts what follows the newest snapshot known here.
	sinceSnapshot journalLength
	// loadedBytes is the size of the snapshot that the replica was loaded from.
	loadedBytes int64
	// known is the newest feature level that the code knows.
	known uint32
}

type journalLength struct {
	slots int
	bytes int64
}

// snapshotInfo is what the manifest of a snapshot of the replica says, but for
// its parts.
func (r *replica) snapshotInfo() journal.SnapshotInfo {
	return journal.SnapshotInfo{
		Slot:   r.last,
		Nonce:  r.nonce,
		Epoch:  r.epoch,
		Time:   r.state.Time(),
		Level:  r.state.Level(),
		Claims: r.claims,
	}
}

// place moves the replica to an entry that was applied.
func (r *replica) place(e *journal.Entry) {
	r.last, r.nonce = e.Slot, e.Nonce
	r.atClaim = e.Kind == journal.Claim
	r.sinceSnapshot.slots++
	r.sinceSnapshot.bytes += int64(len(e.Payload))
}

// load builds a replica from the newest snapshot, or from slot 0, and follows
// the journal to its end. An empty bucket gets its slot 0. errReload says that
// a newer snapshot came, and the slots that this load needed went, while it
// ran: the next one begins from there.
func load(ctx context.Context, j *journal.Journal, ahead readAhead, known uint32) (*replica, error) {
	r, err := loadBase(ctx, j, known)
	if err != nil {
		return &replica{}, err
	}
	r.known = known
	return r, r.follow(ctx, j, ahead)
}

func loadBase(ctx context.Context, j *journal.Journal, known uint32) (*replica, error) {
	info, err := j.LatestSnapshot(ctx)
	if errors.Is(err, journal.ErrNoSnapshot) {
		return loadGenesis(ctx, j)
	}
	if err != nil {
		return nil, err
	}
	if info.Level > known {
		return nil, fmt.Errorf("snapshot of slot %d: %w", info.Slot, &NewerLevelError{Level: info.Level, Known: known})
	}
	var dec StateDecoder
	if err := j.ReadSnapshot(ctx, info, dec.Write); err != nil {
		if errors.Is(err, journal.ErrSnapshotGone) {
			return nil, fmt.Errorf("%w: %w", errReload, err)
		}
		return nil, err
	}
	state, err := dec.State()
	if err != nil {
		return nil, fmt.Errorf("decode the snapshot of slot %d: %w", info.Slot, err)
	}
	r := &replica{
		state:  state,
		last:   info.Slot,
		nonce:  info.Nonce,
		epoch:  info.Epoch,
		claims: info.Claims,

		loadedBytes: info.Bytes(),
	}
	return r, r.lookUpLeader(ctx, j)
}

// lookUpLeader reads the newest claim, which no snapshot holds and nobody
// deletes.
func (r *replica) lookUpLeader(ctx context.Context, j *journal.Journal) error {
	if len(r.claims) == 0 {
		return nil
	}
	claim, err := j.Read(ctx, r.claims[len(r.claims)-1])
	if errors.Is(err, journal.ErrNoEntry) {
		return nil
	}
	r.leader = claim.Writer
	return err
}

func loadGenesis(ctx context.Context, j *journal.Journal) (*replica, error) {
	e, err := j.Read(ctx, 0)
	if errors.Is(err, journal.ErrNoEntry) {
		e, err = writeGenesis(ctx, j)
	}
	if err != nil {
		return nil, err
	}
	return replicaOfGenesis(&e)
}

func replicaOfGenesis(e *journal.Entry) (*replica, error) {
	if e.Kind != journal.Genesis || len(e.Payload) != 16 {
		return nil, &DivergedError{Slot: 0, Reason: "it holds no cluster id"}
	}
	state := NewState([16]byte(e.Payload))
	state.Advance(e.Time)
	return &replica{state: state, nonce: e.Nonce}, nil
}

func writeGenesis(ctx context.Context, j *journal.Journal) (journal.Entry, error) {
	id := journal.NewNonce()
	e := journal.Entry{Kind: journal.Genesis, Nonce: journal.NewNonce(), Time: j.StoreTime(), Payload: id[:]}
	_, err := j.Write(ctx, &e)
	if taken := (*journal.TakenError)(nil); errors.As(err, &taken) {
		return taken.Entry, nil
	}
	return e, err
}

// follow applies what follows the replica's last entry, from listings, until
// one is at its end; if that is a claim it lists again, since the claim may have
// fallen into a deleted slot. The replica is then current as of the call.
// errReload says that it is of no more use.
func (r *replica) follow(ctx context.Context, j *journal.Journal, ahead readAhead) error {
	for {
		slots, err := j.InfosAfter(ctx, r.last, objstore.ListPageMax)
		if err != nil {
			return err
		}
		if err := r.followSlots(ctx, j, slots, ahead, newTouched()); err != nil {
			return err
		}
		if len(slots) < objstore.ListPageMax && (len(slots) == 0 || !r.atClaim) {
			return nil
		}
	}
}

// followSlots applies what follows the replica up to the last of the slots that
// a listing found, reading ahead. A listing that ran beside PUTs may lack a slot
// and show a later one, so what it lacks is read all the same; only a slot that is
// not there is gone, which is errReload. What comes before an error is applied.
func (r *replica) followSlots(ctx context.Context, j *journal.Journal, slots []journal.SlotInfo, ahead readAhead, changed touched) error {
	if len(slots) == 0 {
		return nil
	}
	reader := newSlotReader(ctx, j, r.last+1, slots, ahead)
	defer reader.close()
	for {
		entries, gone := reader.next()
		if err := r.applyAll(entries, changed); err != nil {
			return err
		}
		if gone != nil || len(entries) == 0 {
			return gone
		}
	}
}

// applyAll applies entries, all or none.
func (r *replica) applyAll(entries []journal.Entry, changed touched) error {
	if len(entries) == 0 {
		return nil
	}
	// What was applied goes into a state of its own, so that views handed out
	// before stay as they are.
	next := *r
	next.state = r.state.Clone()
	found := changed.landings.count()
	for i := range entries {
		if err := next.apply(&entries[i], changed); err != nil {
			changed.landings.cut(found)
			return err
		}
	}
	*r = next
	return nil
}

// apply carries out one entry of another writer and compares the outcomes.
func (r *replica) apply(e *journal.Entry, changed touched) error {
	if e.Prev != r.nonce && !mutant.On(mutant.SkipPrevNonce) {
		// The entry before, the replica's last, was a void claim.
		return fmt.Errorf("%w: slot %d does not follow slot %d as it was read", errReload, e.Slot, r.last)
	}
	r.state.Advance(e.Time)
	switch e.Kind {
	case journal.Claim:
		if e.Epoch <= r.epoch {
			return &DivergedError{Slot: e.Slot, Reason: fmt.Sprintf("a claim of epoch %d follows epoch %d", e.Epoch, r.epoch)}
		}
		r.epoch, r.leader = e.Epoch, e.Writer
		// The capped slice keeps replicas that were copied from each other apart.
		r.claims = append(r.claims[:len(r.claims):len(r.claims)], e.Slot)
	case journal.Edits:
		if e.Epoch != r.epoch {
			return &DivergedError{Slot: e.Slot, Reason: fmt.Sprintf("an entry of epoch %d within epoch %d", e.Epoch, r.epoch)}
		}
		edits, results, err := DecodeEdits(e.Payload)
		if err != nil {
			return fmt.Errorf("decode slot %d: %w", e.Slot, err)
		}
		for i, edit := range edits {
			if err := r.checkLevel(edit, e.Slot); err != nil {
				return err
			}
			own := Apply(r.state, edit)
			if !ResultsEqual(own, results[i]) {
				return &DivergedError{Slot: e.Slot, Reason: fmt.Sprintf("edit %d (%T) came out as %+v, not %+v", i, edit, own, results[i])}
			}
			changed.add(edit, own)
		}
	default:
		return &DivergedError{Slot: e.Slot, Reason: fmt.Sprintf("entry of unknown kind %d", e.Kind)}
	}
	r.place(e)
	return nil
}
