package chaos

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wadilog/wadi/localstack"
)

const (
	// startAgainAfter is how long a node that ended at its start stays down, as
	// with any supervisor.
	startAgainAfter = 500 * time.Millisecond
	// readyEvery is how often a node that was started is asked whether it is ready.
	readyEvery = 100 * time.Millisecond
)

// member is a node with a network of its own: a proxy to the store, and one
// through which the other nodes reach it.
type member struct {
	name   string
	disk   bool // it has a write-ahead buffer
	client *client
	node   *localstack.Node
	store  *Proxy
	peers  *Proxy
	data   string // its folder, if disk
	found  *Findings

	spawn func(func())       // runs a goroutine that ends after leave
	leave context.CancelFunc // ends its proxies and those who watch it

	starts atomic.Int64
	exits  *atomic.Int64 // of the fleet

	mu      sync.Mutex // held while its process changes
	asked   bool       // guarded by mu; that its process ends, or that nothing starts it again
	paused  atomic.Bool
	running atomic.Bool // between a start and an end that was asked for
}

func (m *member) life() string { return fmt.Sprintf("%s#%d", m.name, m.starts.Load()) }

// adopt watches a process that was just started. mu is held.
func (m *member) adopt(ctx context.Context) {
	m.starts.Add(1)
	m.asked = false
	m.running.Store(true)
	done, start := m.node.Done(), m.starts.Load()
	m.spawn(func() { m.watch(ctx, done, start) })
}

// watch starts the node again if it ends at its start, which it does if it cannot
// reach the store. One that ends by itself later has failed.
func (m *member) watch(ctx context.Context, done <-chan struct{}, start int64) {
	wasReady := false
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			return
		case <-done:
			ended = true
		case <-tick.C:
			if !wasReady {
				wasReady = m.ready(ctx) == nil
			}
		}
	}
	m.mu.Lock()
	expected := m.asked || m.starts.Load() != start
	m.mu.Unlock()
	if expected || ctx.Err() != nil {
		return
	}
	if wasReady {
		m.found.Add(live, "%s ended by itself; end of its log:\n%s", m.name, m.node.LogTail())
	}
	m.exits.Add(1)
	if pause(ctx, startAgainAfter) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked && m.starts.Load() == start {
		if err := m.launch(ctx); err != nil && ctx.Err() == nil {
			m.found.Add(live, "%s cannot be started: %v", m.name, err)
		}
	}
}

// launch starts the node and does not wait until it is ready. mu is held.
func (m *member) launch(ctx context.Context) error {
	if err := m.node.Launch(ctx); err != nil {
		return err
	}
	m.adopt(ctx)
	return nil
}

// kill ends the node by SIGKILL.
func (m *member) kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = true
	m.running.Store(false)
	m.paused.Store(false)
	return m.node.Kill()
}

// start starts a node that was ended.
func (m *member) start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.launch(ctx)
}

// restart ends the node by SIGTERM, which must exit with 0, and starts it again.
func (m *member) restart(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = true
	m.running.Store(false)
	if err := m.node.Stop(); err != nil {
		m.found.Add(live, "%s was asked to end: %v", m.name, err)
	}
	return m.launch(ctx)
}

// freeze pauses the node, if it runs.
func (m *member) freeze() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.node.Pause(); err != nil {
		return err
	}
	m.paused.Store(true)
	return nil
}

func (m *member) thaw() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused.Store(false)
	return m.node.Resume()
}

// ready asks once.
func (m *member) ready(ctx context.Context) error {
	a := m.client.within(ctx, time.Second, "GET", "/readyz", nil)
	if a.status != 200 {
		return fmt.Errorf("%s is not ready: %s", m.name, a)
	}
	return nil
}
