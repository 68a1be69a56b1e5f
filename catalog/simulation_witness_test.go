package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

const (
	slotKeys = "catalog/000/journal/"
	// topicsMax is how many topics a witnessed catalog may have.
	topicsMax = 10_000
)

// witness is the bucket itself. It judges every entry at the moment it lands,
// keeps the catalog as of each slot, and knows what every view must hold.
type witness struct {
	*memstore.Store
	tb testing.TB

	mu        sync.Mutex
	chain     []link                                    // by slot; guarded by mu
	landed    map[journal.Nonce]journal.Slot            // all that ever landed; guarded by mu
	writer    string                                    // address in the newest claim of the chain; guarded by mu
	epoch     uint64                                    // of the newest claim of the chain; guarded by mu
	views     map[string]slotRange                      // by digest of their states; guarded by mu
	edits     map[any][]landedEdit                      // by identity; guarded by mu
	accepted  map[commitKey]landedEdit                  // commits that were not refused; guarded by mu
	ends      map[catalog.TopicPartition]catalog.Offset // guarded by mu
	void      int                                       // claims that fell into deleted slots; guarded by mu
	repeats   int                                       // entries that landed again after they were deleted; guarded by mu
	handedOut int                                       // entries that followers got from leaders; guarded by mu
	claims    int                                       // of the chain; guarded by mu
	sent      map[any]int                               // how often, by identity; guarded by mu
	told      map[any]int                               // how often it was acknowledged, by identity; guarded by mu
	refused   map[any]int                               // how often it was answered as not committed, by identity; guarded by mu
	members   *memberBeliefs                            // nil where nobody is a member of a group
}

// link is one entry of the chain, and the catalog after it.
type link struct {
	kind    journal.Kind
	nonce   journal.Nonce
	state   *catalog.State
	encoded []byte // of state, once somebody asked
}

// slotRange holds the slots whose states look alike: a claim leaves the state
// as it was.
type slotRange struct{ first, last journal.Slot }

// commitKey names a commit, which may have been sent several times with
// different objects.
type commitKey struct {
	node catalog.NodeID
	upto uint64
}

// landedEdit is an edit of the chain.
type landedEdit struct {
	slot   journal.Slot
	edit   catalog.Edit
	result catalog.Result
}

func newWitness(tb testing.TB) *witness {
	return &witness{
		Store:    memstore.New(),
		tb:       tb,
		landed:   map[journal.Nonce]journal.Slot{},
		views:    map[string]slotRange{},
		edits:    map[any][]landedEdit{},
		sent:     map[any]int{},
		told:     map[any]int{},
		refused:  map[any]int{},
		accepted: map[commitKey]landedEdit{},
		ends:     map[catalog.TopicPartition]catalog.Offset{},
	}
}

// PutIfAbsent implements objstore.Bucket.
func (w *witness) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	receipt, err := w.Store.PutIfAbsent(ctx, key, body)
	name, isSlot := strings.CutPrefix(key, slotKeys)
	if err != nil || !isSlot {
		return receipt, err
	}
	var slot journal.Slot
	if _, err := fmt.Sscanf(name, "%020d", &slot); err != nil {
		w.tb.Errorf("landed under %s: %v", key, err)
	}
	e, err := journal.Decode(slot, bytes.Clone(body))
	if err != nil {
		w.tb.Errorf("landed: %v", err)
		return receipt, nil
	}
	w.land(&e)
	return receipt, nil
}

// land judges an entry. The chain grows by entries that land in the slot after
// its end; anywhere else nothing may land but a void claim, and once more what
// was there before it was deleted.
func (w *witness) land(e *journal.Entry) {
	head := len(w.chain) - 1
	if slot, again := w.landed[e.Nonce]; again {
		if slot != e.Slot {
			w.tb.Errorf("slot %d holds the nonce of slot %d", e.Slot, slot)
		}
		w.repeats++
		return
	}
	w.landed[e.Nonce] = e.Slot
	switch {
	case int(e.Slot) > len(w.chain):
		w.tb.Errorf("slot %d landed when %d was the newest", e.Slot, head)
	case int(e.Slot) < len(w.chain) && e.Kind == journal.Claim:
		w.void++
	case int(e.Slot) < len(w.chain):
		w.tb.Errorf("fork: slot %d, %v of epoch %d by %s, landed beside the chain, which is at %d", e.Slot, e.Kind, e.Epoch, e.Writer, head)
	case head >= 0 && e.Prev != w.chain[head].nonce:
		w.tb.Errorf("fork: slot %d, %v of epoch %d by %s, does not follow slot %d", e.Slot, e.Kind, e.Epoch, e.Writer, head)
	default:
		w.grow(e)
	}
}

func (w *witness) grow(e *journal.Entry) {
	var state *catalog.State
	if e.Slot == 0 {
		state = catalog.NewState([16]byte(e.Payload))
	} else {
		state = w.chain[e.Slot-1].state.Clone()
	}
	state.Advance(e.Time)
	switch e.Kind {
	case journal.Claim:
		w.claims++
		if e.Epoch <= w.epoch {
			w.tb.Errorf("slot %d claims epoch %d within epoch %d", e.Slot, e.Epoch, w.epoch)
		}
		w.epoch, w.writer = e.Epoch, e.Writer
	case journal.Edits:
		if e.Epoch != w.epoch {
			w.tb.Errorf("fork: slot %d by %s is of epoch %d within epoch %d", e.Slot, e.Writer, e.Epoch, w.epoch)
		}
		edits, results, err := catalog.DecodeEdits(e.Payload)
		if err != nil {
			w.tb.Errorf("slot %d: %v", e.Slot, err)
		}
		for i := range edits {
			w.carryOut(e, state, edits[i], results[i])
		}
	}
	w.chain = append(w.chain, link{kind: e.Kind, nonce: e.Nonce, state: state})
	d := digest(state)
	r, known := w.views[d]
	if !known {
		r.first = e.Slot
	}
	r.last = e.Slot
	w.views[d] = r
}

// carryOut applies one edit to the witness's own state, and keeps the books: a
// commit lands once, and its records come where the partition ended.
func (w *witness) carryOut(e *journal.Entry, state *catalog.State, edit catalog.Edit, result catalog.Result) {
	if own := catalog.Apply(state, edit); !catalog.ResultsEqual(own, result) {
		w.tb.Errorf("slot %d: %T came out as %+v, not %+v", e.Slot, edit, own, result)
	}
	if n := w.sent[identity(edit)]; n > 0 && n == w.told[identity(edit)] && result.Err == nil {
		w.tb.Errorf("twice: slot %d by %s carries %+v out, which was settled before", e.Slot, e.Writer, edit)
	}
	l := landedEdit{slot: e.Slot, edit: edit, result: result}
	w.edits[identity(edit)] = append(w.edits[identity(edit)], l)
	w.members.landed(edit, result)
	commit, ok := edit.(catalog.CommitSegment)
	if !ok || result.Err != nil {
		return
	}
	key := commitKey{commit.Node, commit.Upto}
	if before, twice := w.accepted[key]; twice {
		w.tb.Errorf("twice: commit %d of %s is in slots %d and %d", key.upto, key.node, before.slot, e.Slot)
	}
	w.accepted[key] = l
	for i, u := range result.Units {
		for k, landed := range u.Appends {
			a := commit.Units[i].Appends[k]
			if landed.Duplicate {
				continue
			}
			if landed.Base != w.ends[a.Partition] {
				w.tb.Errorf("slot %d gives offset %d where partition %d ends at %d", e.Slot, landed.Base, a.Partition.Partition, w.ends[a.Partition])
			}
			w.ends[a.Partition] = landed.Base + catalog.Offset(a.Records)
		}
	}
}

// identity tells edits apart that a client sent.
func identity(e catalog.Edit) any {
	switch e := e.(type) {
	case catalog.CommitSegment:
		return e.Object.ID
	case catalog.JoinGroup:
		return fmt.Sprintf("%+v", e)
	}
	return e
}

// digest tells states apart, cheaply.
func digest(s *catalog.State) string {
	var b strings.Builder
	fmt.Fprint(&b, s.Time(), s.Counts())
	for _, topic := range s.Topics("", "", topicsMax) {
		fmt.Fprint(&b, topic.Name, topic.Config.RetentionMs)
		for i := range topic.Partitions {
			p := s.Partition(catalog.TopicPartition{Topic: topic.ID, Partition: i})
			fmt.Fprint(&b, " ", p.LogStart(), p.End())
		}
	}
	for _, g := range s.Groups("", "", topicsMax) {
		fmt.Fprint(&b, g.Name, g.Epoch)
		for _, m := range g.Members {
			fmt.Fprint(&b, " ", m.ID, m.Joined, m.Epoch, m.Synced)
		}
	}
	return b.String()
}

func encodeOf(tb testing.TB, s *catalog.State) []byte {
	var b []byte
	if err := s.Encode(func(chunk []byte) error { b = append(b, chunk...); return nil }); err != nil {
		tb.Error(err)
	}
	return b
}

// newest returns the newest slot of the chain.
func (w *witness) newest() journal.Slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return journal.Slot(max(0, len(w.chain)-1))
}

// leader returns the address in the newest claim of the chain.
func (w *witness) leader() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writer
}

// newestEpoch returns the epoch of the newest claim of the chain.
func (w *witness) newestEpoch() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

// stateAt returns the catalog as of a slot of the chain.
func (w *witness) stateAt(slot journal.Slot) *catalog.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.chain[slot].state
}

// claimCount returns how many claims the chain has.
func (w *witness) claimCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.claims
}

// voidCount returns how many claims fell into deleted slots.
func (w *witness) voidCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.void
}

// repeatCount returns how many entries landed again after they were deleted.
func (w *witness) repeatCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.repeats
}

// slotsOf returns the slots as of which a view may be.
func (w *witness) slotsOf(who string, view *catalog.State) slotRange {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.views[digest(view)]
	if !ok {
		w.tb.Errorf("%s has a view that the journal never had", who)
	}
	return r
}

// checkWhole compares a view byte by byte with the chain.
func (w *witness) checkWhole(who string, view *catalog.State) {
	r := w.slotsOf(who, view)
	encoded := encodeOf(w.tb, view)
	w.mu.Lock()
	defer w.mu.Unlock()
	for slot := r.last; ; slot-- {
		l := &w.chain[slot]
		if l.encoded == nil {
			l.encoded = encodeOf(w.tb, l.state)
		}
		if bytes.Equal(encoded, l.encoded) {
			return
		}
		if slot == r.first {
			break
		}
	}
	w.tb.Errorf("fork: %s has a view that differs from the journal at slot %d", who, r.last)
}

// checkHandedOut judges an entry that a leader gave to a follower: it must have
// landed, or the follower would hold what may never be committed.
func (w *witness) checkHandedOut(leader string, slot journal.Slot, encoded []byte) {
	e, err := journal.Decode(slot, bytes.Clone(encoded))
	if err != nil {
		w.tb.Errorf("%s handed out: %v", leader, err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handedOut++
	if _, ok := w.landed[e.Nonce]; !ok || int(slot) >= len(w.chain) || w.chain[slot].nonce != e.Nonce {
		w.tb.Errorf("fork: %s handed out slot %d, %v of epoch %d, which is not in the journal", leader, slot, e.Kind, e.Epoch)
	}
}

// find returns the edits of the chain that came out as somebody was told.
func (w *witness) find(e catalog.Edit, told catalog.Result) (found landedEdit, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.edits[identity(e)] {
		if catalog.ResultsEqual(l.result, told) && reflect.DeepEqual(l.edit, e) {
			return l, true
		}
	}
	return found, false
}

// send remembers that an edit was sent once more.
func (w *witness) send(e catalog.Edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[identity(e)]++
}

// tell remembers that an edit was acknowledged: it must not come again.
func (w *witness) tell(e catalog.Edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[identity(e)]++
}

// neverMind remembers an edit that was answered as not committed.
func (w *witness) neverMind(e catalog.Edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused[identity(e)]++
}

// checkPhantoms looks for edits of which every sending was answered as not
// committed.
func (w *witness) checkPhantoms() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.refused {
		if found := w.edits[id]; n == w.sent[id] && len(found) > 0 {
			w.tb.Errorf("phantom: %+v was answered as not committed, and is in slot %d", found[0].edit, found[0].slot)
		}
	}
}

// commit returns a commit that was not refused.
func (w *witness) commit(key commitKey) (landedEdit, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.accepted[key]
	return l, ok
}

// end returns the end offset of a partition as of the newest slot.
func (w *witness) end(tp catalog.TopicPartition) catalog.Offset {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[tp]
}

// hasPruned tells whether the slots up to one, claims aside, have been deleted.
func (w *witness) hasPruned(upto journal.Slot) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := map[string]bool{}
	for _, key := range w.Keys() {
		left[key] = true
	}
	for slot := journal.Slot(1); slot <= upto; slot++ {
		if int(slot) >= len(w.chain) || w.chain[slot].kind != journal.Claim && left[slotKey(slot)] {
			return false
		}
	}
	return true
}

func slotKey(slot journal.Slot) string { return fmt.Sprintf("%s%020d", slotKeys, slot) }

// checkSnapshots compares the newest two snapshots with the chain.
func (w *witness) checkSnapshots(j *journal.Journal) {
	slots, err := j.Snapshots(context.Background())
	if err != nil {
		w.tb.Error(err)
	}
	for _, slot := range slots[max(0, len(slots)-2):] {
		info, err := j.Snapshot(context.Background(), slot)
		if err != nil {
			w.tb.Error(err)
			continue
		}
		var dec catalog.StateDecoder
		if err := j.ReadSnapshot(context.Background(), info, dec.Write); err != nil {
			w.tb.Error(err)
			continue
		}
		state, err := dec.State()
		if err != nil {
			w.tb.Errorf("snapshot of slot %d: %v", slot, err)
			continue
		}
		if int(slot) >= len(w.chain) {
			w.tb.Errorf("fork: there is a snapshot of slot %d, and the journal ends at %d", slot, len(w.chain)-1)
		} else if l := w.chain[slot]; info.Nonce != l.nonce || !bytes.Equal(encodeOf(w.tb, state), encodeOf(w.tb, l.state)) {
			w.tb.Errorf("fork: the snapshot of slot %d is not the journal's", slot)
		}
	}
}
