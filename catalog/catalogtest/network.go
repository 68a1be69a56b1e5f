package catalogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// Node serves what other nodes ask; a *catalog.Catalog is one.
type Node interface {
	ServeForward(context.Context, catalog.ForwardRequest) (catalog.ForwardAnswer, error)
	ServePull(context.Context, catalog.PullRequest) (catalog.PullAnswer, error)
	ServeKeep(context.Context, catalog.KeepRequest) (catalog.KeepAnswer, error)
}

// Call is one request on its way. One of Forward, Pull and Keep is set.
type Call struct {
	From, To string
	Forward  *catalog.ForwardRequest
	Pull     *catalog.PullRequest
	Keep     *catalog.KeepRequest
	N        int // how many of this kind went from From to To before it
}

func (c *Call) kind() string {
	switch {
	case c.Forward != nil:
		return "forward"
	case c.Keep != nil:
		return "keep"
	default:
		return "pull"
	}
}

// Hook may decide what becomes of a request; false leaves it to chance. It may
// block, and may change the network.
type Hook func(Call) (Fault, bool)

// strayTimeout is how long a node works on a request that nobody waits for.
const strayTimeout = 30 * time.Second

// errReset is all that a sender learns when the connection broke.
var errReset = errors.New("connection reset")

// Network connects nodes by their addresses.
type Network struct {
	ctx    context.Context // of everything that travels
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu            sync.Mutex
	nodes         map[string]*member       // guarded by mu
	frozen        map[string]chan struct{} // closed when the node is resumed; guarded by mu
	cut           map[way]bool             // guarded by mu
	met           map[string]int           // requests so far, by kind and way; guarded by mu
	seed          uint64                   // guarded by mu
	probabilities Probabilities            // guarded by mu
	hook          Hook                     // guarded by mu
}

type way struct{ from, to string }

// member is one life of a node.
type member struct {
	node Node
	ctx  context.Context // ends with the node
	end  context.CancelFunc
}

// New returns a network without nodes and without faults.
func New() *Network {
	n := &Network{
		nodes:  map[string]*member{},
		frozen: map[string]chan struct{}{},
		cut:    map[way]bool{},
		met:    map[string]int{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Close drops what is under way, and returns when nothing is.
func (n *Network) Close() {
	n.mu.Lock()
	for address := range n.frozen {
		n.resumeLocked(address)
	}
	n.mu.Unlock()
	n.cancel()
	n.wg.Wait()
}

// Join puts a node, or its next life, at an address.
func (n *Network) Join(address string, node Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := &member{node: node}
	m.ctx, m.end = context.WithCancel(n.ctx)
	if before := n.nodes[address]; before != nil {
		before.end()
	}
	n.nodes[address] = m
}

// Leave ends the node at an address: what it works on breaks off, and from now
// on nobody is there. A frozen node is not frozen any more.
func (n *Network) Leave(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.nodes[address]; m != nil {
		m.end()
	}
	delete(n.nodes, address)
	n.resumeLocked(address)
}

// Randomize draws a fault for every request that no hook decides.
func (n *Network) Randomize(seed uint64, p Probabilities) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seed, n.probabilities = seed, p
}

// SetHook sets what decides on requests before chance does; nil for nothing.
func (n *Network) SetHook(h Hook) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hook = h
}

// Cut swallows what goes from one node to another: requests, and the answers to
// requests that came the other way.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[way{from, to}] = true
}

// Mend ends a Cut.
func (n *Network) Mend(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, way{from, to})
}

// Freeze holds back all that a node sends and is sent, as SIGSTOP does: its own
// requests do not even time out until it is resumed, and those to it wait.
func (n *Network) Freeze(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen[address] == nil {
		n.frozen[address] = make(chan struct{})
	}
}

// Resume ends a Freeze.
func (n *Network) Resume(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resumeLocked(address)
}

func (n *Network) resumeLocked(address string) {
	if frozen := n.frozen[address]; frozen != nil {
		close(frozen)
		delete(n.frozen, address)
	}
}

// Thaw waits while a node is frozen and tells whether it was. What else the node
// sends, to a store for one, should pass through it.
func (n *Network) Thaw(address string) bool {
	for waited := false; ; waited = true {
		n.mu.Lock()
		frozen := n.frozen[address]
		n.mu.Unlock()
		if frozen == nil {
			return waited
		}
		<-frozen
	}
}

// Reset ends all faults, cuts and freezes and takes the hook away. What is late
// stays under way.
func (n *Network) Reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.probabilities, n.hook = Probabilities{}, nil
	clear(n.cut)
	for address := range n.frozen {
		n.resumeLocked(address)
	}
}

// Count returns how many requests were sent so far.
func (n *Network) Count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, met := range n.met {
		sum += met
	}
	return sum
}

// From returns the network as the node at an address uses it.
func (n *Network) From(address string) catalog.Peers { return port{n, address} }

type port struct {
	network *Network
	address string
}

// Forward implements catalog.Peers.
func (p port) Forward(ctx context.Context, address string, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
	r.Edits = bytes.Clone(r.Edits)
	a := p.network.send(ctx, Call{From: p.address, To: address, Forward: &r})
	return a.forward, a.err
}

// Pull implements catalog.Peers.
func (p port) Pull(ctx context.Context, address string, r catalog.PullRequest) (catalog.PullAnswer, error) {
	a := p.network.send(ctx, Call{From: p.address, To: address, Pull: &r})
	return a.pull, a.err
}

// Keep implements catalog.Peers.
func (p port) Keep(ctx context.Context, address string, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
	r.Heartbeats = slices.Clone(r.Heartbeats)
	a := p.network.send(ctx, Call{From: p.address, To: address, Keep: &r})
	return a.keep, a.err
}

// answer is what a request brings back; one of forward, pull and keep is used.
type answer struct {
	forward catalog.ForwardAnswer
	pull    catalog.PullAnswer
	keep    catalog.KeepAnswer
	err     error
}

// send lets a request travel, and waits for its answer.
func (n *Network) send(ctx context.Context, c Call) answer {
	n.Thaw(c.From)
	f := n.decide(&c)
	if f.Again > 0 {
		n.wg.Go(func() { n.stray(c, f.Again) })
	}
	arrived := make(chan answer, 1)
	n.wg.Go(func() { arrived <- n.travel(ctx, c, f) })
	var a answer
	select {
	case a = <-arrived:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if n.Thaw(c.From) && a.err != nil {
		select {
		case a = <-arrived: // while the sender could not look
		default:
		}
	}
	if a.err != nil {
		a.err = fmt.Errorf("%s from %s to %s: %w", c.kind(), c.From, c.To, a.err)
	}
	return a
}

// decide counts a request and chooses its fault.
func (n *Network) decide(c *Call) Fault {
	n.mu.Lock()
	met := c.kind() + " " + c.From + " " + c.To
	c.N = n.met[met]
	n.met[met]++
	hook := n.hook
	f := n.probabilities.draw(n.seed, c.kind(), c.From, c.To, c.N)
	n.mu.Unlock()
	if hook != nil {
		if decided, ok := hook(*c); ok {
			f = decided
		}
	}
	return f
}

// travel carries a request to its node and the answer back. ctx is the sender's.
func (n *Network) travel(ctx context.Context, c Call, f Fault) answer {
	if !n.sleep(f.Delay) {
		return answer{err: errReset}
	}
	if n.isCut(c.From, c.To) {
		f.Lost, f.Silent = true, true
	}
	if f.Lost {
		return n.lose(ctx, f)
	}
	a := n.serve(ctx, c)
	if !n.sleep(f.AnswerDelay) {
		return answer{err: errReset}
	}
	if n.isCut(c.To, c.From) {
		f.AnswerLost, f.Silent = true, true
	}
	if f.AnswerLost {
		return n.lose(ctx, f)
	}
	return a
}

// stray lets a request arrive that nobody waits for.
func (n *Network) stray(c Call, after time.Duration) {
	if n.sleep(after) && !n.isCut(c.From, c.To) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		n.serve(ended, c)
	}
}

// lose returns when the sender may notice a loss.
func (n *Network) lose(ctx context.Context, f Fault) answer {
	if f.Silent {
		select {
		case <-ctx.Done():
		case <-n.ctx.Done():
		}
	}
	return answer{err: errReset}
}

// serve hands a request to its node. A sender that gives up while the node works
// on it ends that work; one that gave up before cannot, since that its request
// arrives at all means that something on the way keeps it alive.
func (n *Network) serve(sender context.Context, c Call) answer {
	n.Thaw(c.To)
	n.mu.Lock()
	m := n.nodes[c.To]
	n.mu.Unlock()
	if m == nil {
		return answer{err: catalog.ErrNobodyThere}
	}
	ctx, cancel := context.WithCancel(m.ctx)
	if sender.Err() != nil {
		cancel()
		ctx, cancel = context.WithTimeout(m.ctx, strayTimeout)
	} else {
		defer context.AfterFunc(sender, cancel)()
	}
	defer cancel()
	a := call(ctx, m.node, c)
	n.Thaw(c.To)
	if m.ctx.Err() != nil {
		return answer{err: errReset} // the node ended before it answered
	}
	return a
}

func call(ctx context.Context, node Node, c Call) (a answer) {
	switch {
	case c.Forward != nil:
		r := *c.Forward
		r.Edits = bytes.Clone(r.Edits)
		a.forward, a.err = node.ServeForward(ctx, r)
		a.forward.Outcomes = bytes.Clone(a.forward.Outcomes)
	case c.Keep != nil:
		r := catalog.KeepRequest{Heartbeats: slices.Clone(c.Keep.Heartbeats)}
		a.keep, a.err = node.ServeKeep(ctx, r)
		a.keep.Outcomes = slices.Clone(a.keep.Outcomes)
	default:
		a.pull, a.err = node.ServePull(ctx, *c.Pull)
		entries := make([][]byte, len(a.pull.Entries))
		for i, e := range a.pull.Entries {
			entries[i] = bytes.Clone(e)
		}
		a.pull.Entries = entries
	}
	if a.err != nil && !crosses(a.err) {
		a.err = fmt.Errorf("status 500: %v", a.err) // its identity stays behind
	}
	return a
}

// crosses tells whether an error keeps its identity on its way to another node.
func crosses(err error) bool {
	return errors.As(err, new(*catalog.NotLeaderError)) || errors.Is(err, catalog.ErrBusy) || errors.Is(err, catalog.ErrBehind)
}

func (n *Network) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[way{from, to}]
}

// sleep returns false if the network was closed meanwhile.
func (n *Network) sleep(d time.Duration) bool {
	if d <= 0 {
		return n.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}
