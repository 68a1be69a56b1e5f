package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/localstack"
)

const (
	// storePrefix is where the nodes keep their log in the bucket.
	storePrefix = "chaos"
	// metricsTimeout is how long a node may take to tell whether it leads.
	metricsTimeout = 500 * time.Millisecond
)

// FleetConfig says what nodes to run.
type FleetConfig struct {
	Binary string   // of wadi
	Nodes  int      // that are there from the start; each has a disk
	Extra  int      // that may be added; the first of them has no disk
	Dir    string   // for data and logs
	Env    []string // of nodes, besides
	Args   []string // of wadi serve, besides
}

// fleet is a store, nodes and a load balancer, with a network between them that
// can be cut anywhere.
type fleet struct {
	config  FleetConfig
	found   *Findings
	minio   *localstack.MinIO
	cluster *localstack.Cluster
	http    *http.Client
	group   errgroup.Group // of everything that runs beside
	exits   atomic.Int64   // of nodes at their start, by themselves

	// arrived is called for every node that comes, with a context that ends when
	// it goes. Its goroutine belongs to the fleet. May be nil.
	arrived func(context.Context, *client)

	storeMu sync.Mutex // held while the process of the store changes

	mu       sync.Mutex
	present  []*member          // guarded by mu; in the order in which they came
	adjusted map[string]*member // guarded by mu; by name, those that are being started
	err      error              // guarded by mu; what went wrong in adjust
	starts   map[string]int64   // guarded by mu; of nodes that had a name before
}

// startFleet starts everything and returns when all nodes are ready.
func startFleet(ctx context.Context, c FleetConfig, found *Findings) (*fleet, error) {
	f := &fleet{
		config: c, found: found, http: &http.Client{Transport: newTransport()},
		adjusted: map[string]*member{}, starts: map[string]int64{},
	}
	var err error
	if f.minio, err = localstack.StartMinIO(ctx, filepath.Join(c.Dir, "minio")); err != nil {
		return nil, err
	}
	f.cluster, err = localstack.StartCluster(ctx, localstack.ClusterOptions{
		Binary: c.Binary, Nodes: c.Nodes, Dir: c.Dir, MinIO: f.minio, Prefix: storePrefix,
		Adjust: func(o *localstack.NodeOptions) { f.adjust(ctx, o) },
	})
	if err != nil {
		for _, m := range f.adjusted {
			m.leave()
		}
		return nil, errors.Join(err, f.failed(), f.group.Wait(), f.minio.Stop())
	}
	for _, n := range f.cluster.Nodes() {
		if err := f.adopt(ctx, n); err != nil {
			return nil, errors.Join(err, f.kill())
		}
	}
	return f, nil
}

// adjust puts proxies around a node that is about to be started.
func (f *fleet) adjust(ctx context.Context, o *localstack.NodeOptions) {
	m := &member{name: o.Name, found: f.found, exits: &f.exits, disk: o.Name != fmt.Sprintf("node-%d", f.config.Nodes+1)}
	inner, leave := context.WithCancel(ctx)
	m.leave = leave
	m.spawn = func(run func()) {
		f.group.Go(func() error {
			run()
			return nil
		})
	}
	err := func() error {
		endpoint, err := url.Parse(f.minio.Endpoint)
		if err != nil {
			return err
		}
		if m.store, err = NewProxy("127.0.0.1:0", endpoint.Host); err != nil {
			return err
		}
		f.group.Go(func() error { return m.store.Run(inner) })
		behind := localstack.MinIO{Endpoint: "http://" + m.store.Address(), Bucket: f.minio.Bucket}
		o.Store = behind.StoreURL(storePrefix)
		peers, err := localstack.FreeAddress()
		if err != nil {
			return err
		}
		if m.peers, err = NewProxy("127.0.0.1:0", peers); err != nil {
			return err
		}
		f.group.Go(func() error { return m.peers.Run(inner) })
		o.Args = append(o.Args, "--peer-listen", peers, "--advertise", "http://"+m.peers.Address())
		o.Args = append(o.Args, f.config.Args...)
		o.Env = append(o.Env, f.config.Env...)
		if m.data = o.DataDir; !m.disk {
			m.data, o.DataDir = "", ""
		}
		return nil
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	m.starts.Store(f.starts[m.name])
	f.adjusted[m.name] = m
	f.err = errors.Join(f.err, err)
}

func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// adopt takes a node that was started into the fleet.
func (f *fleet) adopt(ctx context.Context, n *localstack.Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	m := f.adjusted[n.Name]
	m.node = n
	m.client = &client{name: n.Name, url: n.URL, http: f.http}
	inner, leave := context.WithCancel(ctx)
	before := m.leave
	m.leave = func() { leave(); before() }
	m.mu.Lock()
	m.adopt(inner)
	m.mu.Unlock()
	f.present = append(f.present, m)
	if arrived := f.arrived; arrived != nil {
		m.spawn(func() { arrived(inner, m.client) })
	}
	return nil
}

// watchAll calls arrived for each node that is there, and later for those to come.
func (f *fleet) watchAll(ctx context.Context, arrived func(context.Context, *client)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arrived = arrived
	for _, m := range f.present {
		inner, leave := context.WithCancel(ctx)
		before := m.leave
		m.leave = func() { leave(); before() }
		m.spawn(func() { arrived(inner, m.client) })
	}
}

func (f *fleet) members() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.present)
}

func (f *fleet) clients() []*client {
	var clients []*client
	for _, m := range f.members() {
		clients = append(clients, m.client)
	}
	return clients
}

func (f *fleet) life(node *client) string {
	for _, m := range f.members() {
		if m.client == node {
			return m.life()
		}
	}
	return ""
}

// add starts one more node; false if there are enough.
func (f *fleet) add(ctx context.Context) (*member, error) {
	if len(f.members()) >= f.config.Nodes+f.config.Extra {
		return nil, nil
	}
	n, err := f.cluster.Add(ctx)
	if err != nil {
		return nil, errors.Join(err, f.failed())
	}
	if err := f.adopt(ctx, n); err != nil {
		return nil, err
	}
	members := f.members()
	return members[len(members)-1], nil
}

// remove takes a node out. Drain lets it end in good order first; else it is killed.
func (f *fleet) remove(ctx context.Context, m *member, drain bool) error {
	if !drain {
		if err := m.kill(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.asked = true
	m.running.Store(false)
	err := f.cluster.Remove(ctx, m.node)
	m.mu.Unlock()
	m.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.present = slices.DeleteFunc(f.present, func(other *member) bool { return other == m })
	f.starts[m.name] = m.starts.Load()
	return err
}

// leader is the node that leads by its own account, in the newest epoch if there
// are several; nil if there is none.
func (f *fleet) leader(ctx context.Context) *member {
	var leader *member
	newest := float64(-1)
	for _, m := range f.members() {
		if !m.running.Load() || m.paused.Load() {
			continue
		}
		a := m.client.within(ctx, metricsTimeout, http.MethodGet, "/metrics", nil)
		if a.status != http.StatusOK || metric(a.body, "wadi_catalog_leader") != 1 {
			continue
		}
		if epoch := metric(a.body, "wadi_catalog_epoch"); epoch > newest {
			leader, newest = m, epoch
		}
	}
	return leader
}

// metric reads a value without labels from the text of /metrics; -1 if it is not there.
func metric(text []byte, name string) float64 {
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(line), name+" "); ok {
			if value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				return value
			}
		}
	}
	return -1
}

// stop drains all nodes, which must exit with 0, and ends the rest.
func (f *fleet) stop() error {
	for _, m := range f.members() {
		m.mu.Lock()
		m.asked = true
		m.mu.Unlock()
	}
	err := f.cluster.Stop()
	return errors.Join(err, f.end())
}

// kill ends everything at once.
func (f *fleet) kill() error {
	var errs []error
	for _, m := range f.members() {
		errs = append(errs, m.kill())
	}
	return errors.Join(append(errs, f.cluster.Stop(), f.end())...)
}

// end waits for what runs beside the nodes.
func (f *fleet) end() error {
	for _, m := range f.members() {
		m.leave()
	}
	f.http.CloseIdleConnections()
	return errors.Join(f.group.Wait(), f.minio.Stop())
}
