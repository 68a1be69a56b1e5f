package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

const (
	simulatedTime  = time.Minute
	simulatedSeeds = 100
)

// TestSchedules runs two or three nodes that follow the protocol on one journal
// while requests fail, land late and processes sleep, and prunes often. A seed
// that failed runs alone with -run 'TestSchedules/seed=7$'.
func TestSchedules(t *testing.T) {
	var sum simCounts
	for seed := range uint64(simulatedSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, seed)
				s.run()
				s.check()
				sum.add(s.counts)
			})
		})
	}
	if t.Failed() {
		return
	}
	t.Logf("%+v", sum)
	for what, n := range sum.byName() {
		if n == 0 {
			t.Errorf("no schedule came upon: %s", what)
		}
	}
}

// simCounts tells what the schedules came upon, so that they are known to reach
// what they are made for.
type simCounts struct {
	committed, notFirst, taken, unsettled, settled, notWritten int
	claims, voidClaims, reloads, deleted, confirmed, crashes   int
}

func (c *simCounts) byName() map[string]int {
	return map[string]int{
		"committed": c.committed, "not first": c.notFirst, "taken": c.taken, "unsettled": c.unsettled, "settled": c.settled,
		"not written": c.notWritten, "claims": c.claims, "void claims": c.voidClaims, "reloads": c.reloads,
		"deleted": c.deleted, "confirmed": c.confirmed, "crashes": c.crashes,
	}
}

func (c *simCounts) add(o simCounts) {
	c.committed += o.committed
	c.notFirst += o.notFirst
	c.taken += o.taken
	c.unsettled += o.unsettled
	c.settled += o.settled
	c.notWritten += o.notWritten
	c.claims += o.claims
	c.voidClaims += o.voidClaims
	c.reloads += o.reloads
	c.deleted += o.deleted
	c.confirmed += o.confirmed
	c.crashes += o.crashes
}

type sim struct {
	t       *testing.T
	seed    uint64
	witness *witness
	fs      *faultstore.Store
	end     time.Time

	mu        sync.Mutex
	committed map[Nonce]*Entry // reported as committed; guarded by mu
	never     map[Nonce]*Entry // reported as not written, and not sent again; guarded by mu
	counts    simCounts        // guarded by mu
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{
		t: t, seed: seed, witness: newWitness(t, memstore.New()), end: time.Now().Add(simulatedTime),
		committed: make(map[Nonce]*Entry), never: make(map[Nonce]*Entry),
	}
	s.fs = faultstore.New(s.witness)
	s.fs.Randomize(seed, faultstore.Probabilities{
		FailBefore: 0.01, FailAfter: 0.01, LoseRequest: 0.01, LoseResponse: 0.02, Throttle: 0.01, Hang: 0.01,
		Conflict: 0.01, ExistsByOwnWrite: 0.01, LandLate: 0.03,
		CutRead: 0.01, ShortenRead: 0.01, CorruptRead: 0.01,
		LateMax: 15 * time.Second,
	})
	return s
}

func (s *sim) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *sim) run() {
	nodes := 2 + int(s.seed%2)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			n := newSimNode(s, fmt.Sprintf("node-%d", i), rand.New(rand.NewPCG(s.seed, uint64(i))))
			for time.Now().Before(s.end) && !s.t.Failed() {
				n.step()
				time.Sleep(time.Duration(n.rng.Int64N(int64(20 * time.Millisecond))))
			}
		})
	}
	wg.Wait()
}

// check compares what the nodes were told with what is there in the end.
func (s *sim) check() {
	s.fs.Reset()
	s.fs.Land()
	n := newSimNode(s, "the last", rand.New(rand.NewPCG(s.seed, 99)))
	if err := n.load(); err != nil {
		s.t.Fatal(err)
	}
	onChain := make(map[Nonce]bool)
	var path []Nonce
	for slot, nonce := n.next-1, n.prev; ; slot-- {
		e, ok := s.witness.find(nonce)
		if !ok || e.Slot != slot {
			s.t.Fatalf("slot %d: nonce %x leads to %+v, %v", slot, nonce, e, ok)
		}
		onChain[nonce] = true
		path = append(path, nonce)
		if slot == 0 {
			break
		}
		nonce = e.Prev
	}
	slices.Reverse(path)
	digests := make([][32]byte, len(path)) // by slot
	var digest [32]byte
	for slot, nonce := range path {
		digest = advance(digest, nonce)
		digests[slot] = digest
	}
	if digest != n.digest {
		s.t.Error("a fresh replica differs from the chain of entries")
	}
	s.checkSnapshots(n.j, digests)
	for nonce, e := range s.committed {
		if !onChain[nonce] {
			s.t.Errorf("lost: slot %d, %v of epoch %d by %s was reported as committed", e.Slot, e.Kind, e.Epoch, e.Writer)
		}
	}
	for nonce, e := range s.never {
		if _, ok := s.witness.find(nonce); ok {
			s.t.Errorf("phantom: slot %d by %s was reported as not written", e.Slot, e.Writer)
		}
	}
	for nonce, e := range s.witness.landed {
		if e.Kind != Claim && !onChain[nonce] {
			s.t.Errorf("slot %d, %v of epoch %d by %s landed beside the chain", e.Slot, e.Kind, e.Epoch, e.Writer)
		}
	}
}

// checkSnapshots expects that a replica can start from each of the newest two.
func (s *sim) checkSnapshots(j *Journal, digests [][32]byte) {
	ctx := s.t.Context()
	slots, err := j.Snapshots(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, slot := range slots[max(0, len(slots)-snapshotsKept):] {
		info, err := j.Snapshot(ctx, slot)
		if err != nil {
			s.t.Fatal(err)
		}
		if content := readBack(s.t, j, info); content != string(digests[slot][:]) {
			s.t.Errorf("the snapshot of slot %d holds another state", slot)
		}
		for ; int(slot) < len(digests); slot++ {
			if _, err := j.Read(ctx, slot); err != nil {
				s.t.Errorf("after the snapshot of slot %d: %v", info.Slot, err)
			}
		}
	}
}

func advance(digest [32]byte, n Nonce) [32]byte { return sha256.Sum256(append(digest[:], n[:]...)) }

// simNode is a catalog's replica in small: its state is a digest of the nonces.
type simNode struct {
	chain
	sim    *sim
	j      *Journal
	rng    *rand.Rand
	loaded bool
	leader bool
	digest [32]byte

	unsettled *Entry // was sent: the only body for its slot
	sinceLast int    // entries since the last snapshot
}

func newSimNode(s *sim, name string, rng *rand.Rand) *simNode {
	bucket := &drowsy{Bucket: s.fs, seed: rng.Uint64(), met: make(map[string]int)}
	return &simNode{sim: s, j: open(s.t, bucket, smallParts), rng: rng, chain: chain{writer: name}}
}

// step does one thing that a catalog does.
func (n *simNode) step() {
	switch {
	case n.rng.Float64() < 0.003:
		// A crash: what was sent and not settled stays so.
		n.loaded, n.leader, n.unsettled = false, false, nil
		n.sim.count(&n.sim.counts.crashes)
	case !n.loaded:
		n.reload()
	case n.unsettled != nil:
		n.write(n.unsettled, n.j.Settle)
	case n.rng.Float64() < 0.02:
		n.prune()
	case !n.leader:
		if n.mustFollow() && n.rng.Float64() < 0.05 {
			n.claim()
		}
	case n.rng.Float64() < 0.1:
		n.confirm()
	case n.sinceLast > 5 && n.rng.Float64() < 0.3:
		n.snapshot()
	default:
		n.write(n.entry(Edits, "edits"), n.j.Write)
	}
}

func (n *simNode) reload() {
	n.leader, n.loaded, n.unsettled = false, false, nil
	n.sim.count(&n.sim.counts.reloads)
	if n.load() == nil {
		n.loaded = true
	}
}

// load builds the replica from the bucket; any error means to try again.
func (n *simNode) load() error {
	n.chain = chain{writer: n.writer}
	n.digest = [32]byte{}
	ctx := context.Background()
	info, err := n.j.LatestSnapshot(ctx)
	switch {
	case errors.Is(err, ErrNoSnapshot):
		if err := n.begin(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		var content []byte
		if err := n.j.ReadSnapshot(ctx, info, func(part []byte) error {
			content = append(content, part...)
			return nil
		}); err != nil {
			return err
		}
		n.epoch, n.next, n.prev, n.claims = info.Epoch, info.Slot+1, info.Nonce, info.Claims
		n.digest = [32]byte(content)
	}
	return n.follow()
}

func (n *simNode) begin(ctx context.Context) error {
	e, err := n.j.Read(ctx, 0)
	if errors.Is(err, ErrNoEntry) {
		own := n.entry(Genesis, n.writer)
		_, err = n.j.Write(ctx, own)
		if taken := (*TakenError)(nil); errors.As(err, &taken) {
			own, err = &taken.Entry, nil
		}
		e = *own
	}
	if err == nil {
		n.apply(&e)
	}
	return err
}

var errPlaceLost = errors.New("slots are missing or do not follow")

// mustFollow makes the replica current; false if it could not.
func (n *simNode) mustFollow() bool {
	err := n.follow()
	if errors.Is(err, errPlaceLost) {
		n.reload()
	}
	return err == nil
}

// follow reads what comes after the replica until a listing finds nothing: then
// nothing may have landed there before the listing began.
func (n *simNode) follow() error {
	ctx := context.Background()
	for {
		newest := n.sim.witness.newestSlot()
		slots, err := n.j.After(ctx, n.next-1, 4)
		if err != nil {
			return err
		}
		if len(slots) == 0 {
			if newest >= n.next {
				n.sim.t.Errorf("%s found nothing after slot %d when %d had landed", n.writer, n.next-1, newest)
			}
			return nil
		}
		if slots[0] != n.next {
			return errPlaceLost
		}
		e, err := n.j.Read(ctx, n.next)
		switch {
		case errors.Is(err, ErrNoEntry):
			return errPlaceLost
		case err != nil:
			return err
		case e.Prev != n.prev:
			return errPlaceLost
		}
		n.apply(&e)
	}
}

// apply moves the replica behind e.
func (n *simNode) apply(e *Entry) {
	switch {
	case e.Kind == Claim && e.Epoch <= n.epoch, e.Kind == Edits && e.Epoch != n.epoch:
		n.sim.t.Errorf("%s at epoch %d meets slot %d, %v of epoch %d by %s", n.writer, n.epoch, e.Slot, e.Kind, e.Epoch, e.Writer)
	}
	n.wrote(e)
	n.digest = advance(n.digest, e.Nonce)
	n.sinceLast++
}

func (n *simNode) claim() {
	e := n.entry(Claim, "")
	newest := n.sim.witness.newestSlot()
	if n.rng.Float64() < 0.2 {
		time.Sleep(time.Duration(n.rng.Int64N(int64(sleepMax))))
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.patience())
	defer cancel()
	_, err := n.j.WriteClaim(ctx, e)
	switch {
	case err == nil:
		if newest >= e.Slot {
			n.sim.t.Errorf("%s claimed slot %d when %d had landed", n.writer, e.Slot, newest)
		}
		n.sim.commit(e)
		n.apply(e)
		n.leader = true
		n.sim.count(&n.sim.counts.claims)
	case errors.Is(err, ErrSlotTaken), errors.Is(err, ErrNotWritten):
	default:
		if errors.Is(err, ErrVoidClaim) {
			n.sim.count(&n.sim.counts.voidClaims)
		}
		n.reload()
	}
}

// patience is how long a write is given; often too short.
func (n *simNode) patience() time.Duration {
	return []time.Duration{5 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second, time.Minute}[n.rng.IntN(4)]
}

func (n *simNode) write(e *Entry, send func(context.Context, *Entry) (Written, error)) {
	newest := n.sim.witness.newestSlot()
	if n.rng.Float64() < 0.01 {
		time.Sleep(time.Duration(n.rng.Int64N(int64(sleepMax))))
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.patience())
	defer cancel()
	written, err := send(ctx, e)
	switch {
	case err == nil:
		if written.First && newest >= e.Slot {
			n.sim.t.Errorf("the first PUT of slot %d by %s was answered 200 when %d had landed", e.Slot, n.writer, newest)
		}
		if !written.First {
			n.sim.count(&n.sim.counts.notFirst)
		}
		if n.unsettled != nil {
			n.sim.count(&n.sim.counts.settled)
		}
		n.unsettled = nil
		n.sim.commit(e)
		n.apply(e)
	case errors.Is(err, ErrSlotTaken):
		n.sim.count(&n.sim.counts.taken)
		n.leader, n.unsettled = false, nil
	case errors.Is(err, ErrUnsettled):
		n.sim.count(&n.sim.counts.unsettled)
		n.unsettled = e
	case errors.Is(err, ErrNotWritten):
		n.sim.mu.Lock()
		n.sim.never[e.Nonce] = e
		n.sim.counts.notWritten++
		n.sim.mu.Unlock()
	default:
		n.sim.t.Errorf("write slot %d: %v", e.Slot, err)
	}
}

func (s *sim) commit(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed[e.Nonce] = e
	s.counts.committed++
}

// confirm is a leader's look at the slot it writes next: finding nothing proves
// that it still leads.
func (n *simNode) confirm() {
	newest := n.sim.witness.newestSlot()
	_, err := n.j.Read(context.Background(), n.next)
	switch {
	case err == nil:
		n.leader = false
	case errors.Is(err, ErrNoEntry):
		n.sim.count(&n.sim.counts.confirmed)
		if newest >= n.next {
			n.sim.t.Errorf("%s confirmed its lead after slot %d when %d had landed", n.writer, n.next-1, newest)
		}
	}
}

func (n *simNode) snapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	info, err := n.j.WriteSnapshot(ctx, n.info(), oneChunk(string(n.digest[:])))
	switch {
	case err == nil && (info.Nonce != n.prev || !slices.Equal(info.Claims, n.claims)):
		n.sim.t.Errorf("snapshot of slot %d differs from that of %s", info.Slot, n.writer)
	case errors.Is(err, ErrSnapshotDiffers):
		n.sim.t.Error(err)
	}
	n.sinceLast = 0
	n.prune()
}

func (n *simNode) prune() {
	deleted, err := n.j.Prune(context.Background(), 0, nil)
	if errors.Is(err, ErrNoEntry) || errors.As(err, new(*CorruptError)) && errors.Is(err, objstore.ErrNotFound) {
		n.sim.t.Errorf("something that must stay is gone: %v", err)
	}
	n.sim.mu.Lock()
	n.sim.counts.deleted += deleted
	n.sim.mu.Unlock()
}
