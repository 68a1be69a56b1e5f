package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// clusterNodesMax bounds a Cluster; it is for one machine.
const clusterNodesMax = 100

var (
	// ErrLastNode says that a Cluster keeps at least one node.
	ErrLastNode = errors.New("the last node of a cluster cannot be removed")
	// ErrDirInUse says that another Cluster has the folder.
	ErrDirInUse = errors.New("another cluster uses this folder")
)

// ClusterOptions say how to run a Cluster.
type ClusterOptions struct {
	Binary string // of BuildWadi, say
	Nodes  int    // at least 1
	Dir    string // for data and logs; empty for a temporary one, which a good Stop removes
	Listen string // host:port of nginx; empty for a free port of 127.0.0.1
	MinIO  *MinIO // that the caller stops; nil for one of the cluster's own, in Dir
	Prefix string // in the bucket; may be empty

	// Adjust changes what is chosen for a node, whose name is in it, before it is
	// started for the first time: no DataDir for --wal=off, another Store for one
	// behind a proxy, more Args. May be nil.
	Adjust func(*NodeOptions)
}

// Cluster is MinIO, nodes and an nginx in front of them. Nodes find each other by
// the bucket. The methods of Cluster are safe for concurrent use, but for Stop;
// those of one Node are not.
//
// A node that is killed, paused or restarted by its own methods stays where it is,
// and keeps its address: nginx finds out by itself.
type Cluster struct {
	URL   string // of nginx
	MinIO *MinIO
	Nginx *Nginx

	options   ClusterOptions
	ownsDir   bool
	ownsMinIO bool
	lock      *os.File // of Dir

	changing sync.Mutex // held by Add and Remove as a whole
	mu       sync.Mutex // guards nodes
	nodes    []*Node    // by number
}

// StartCluster starts a cluster and returns when all of its nodes are ready and
// nginx sends requests to them.
func StartCluster(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	if o.Nodes < 1 || o.Nodes > clusterNodesMax {
		return nil, fmt.Errorf("a cluster of %d nodes: want 1 to %d", o.Nodes, clusterNodesMax)
	}
	if _, err := FindNginx(); err != nil {
		return nil, err // before anything takes its time
	}
	c := &Cluster{options: o, MinIO: o.MinIO}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster: %w", err), c.kill())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.options.Dir == "" {
		c.ownsDir = true
		if c.options.Dir, err = os.MkdirTemp("", "wadi-cluster-"); err != nil {
			return err
		}
	}
	if c.options.Dir, err = filepath.Abs(c.options.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.options.Dir, 0o755); err != nil {
		return err
	}
	if c.lock, err = lockDir(c.options.Dir); err != nil {
		return fmt.Errorf("%s: %w", c.options.Dir, err)
	}
	if c.MinIO == nil {
		if c.MinIO, err = StartMinIO(ctx, filepath.Join(c.options.Dir, "minio")); err != nil {
			return err
		}
		c.ownsMinIO = true
	}
	starting, startingCtx := errgroup.WithContext(ctx)
	for number := 1; number <= c.options.Nodes; number++ {
		n, err := c.newNode(number)
		if err != nil {
			return errors.Join(err, starting.Wait())
		}
		c.nodes = append(c.nodes, n)
		starting.Go(func() error { return n.Restart(startingCtx) })
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	if c.Nginx, err = StartNginx(ctx, filepath.Join(c.options.Dir, "nginx"), c.options.Listen, addressesOf(c.nodes)...); err != nil {
		return err
	}
	c.URL = c.Nginx.URL
	return nil
}

// lockDir locks a folder until the file that it returns is closed, or the process
// ends.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flockHow(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrDirInUse
		}
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// nodeName is also the name of the node's folder.
func nodeName(number int) string { return fmt.Sprintf("node-%d", number) }

func (c *Cluster) newNode(number int) (*Node, error) {
	name := nodeName(number)
	dir := filepath.Join(c.options.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	o := NodeOptions{
		Name:    name,
		Binary:  c.options.Binary,
		Store:   c.MinIO.StoreURL(c.options.Prefix),
		Env:     c.MinIO.Env(),
		DataDir: filepath.Join(dir, "data"),
		LogFile: filepath.Join(dir, "node.log"),
	}
	if c.options.Adjust != nil {
		c.options.Adjust(&o)
	}
	return NewNode(o)
}

// addressesOf are the nodes' host:port.
func addressesOf(nodes []*Node) []string {
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, strings.TrimPrefix(n.URL, "http://"))
	}
	return addresses
}

// Dir is where the cluster keeps data and logs.
func (c *Cluster) Dir() string { return c.options.Dir }

// Nodes are those that were neither removed nor failed to be added, by number,
// whether or not they run.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Node returns the node of a name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// LeftBehind lists nodes of an earlier run that are not in the cluster and were not
// drained: acknowledged records on their disks may not be in the log yet. Add brings
// them back, lowest number first.
func (c *Cluster) LeftBehind() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(c.options.Dir, "node-*", "data", "wal", "*.wal"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		name := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(file))))
		if c.Node(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Add starts a node, waits until it is ready, and lets nginx send requests to it.
// It gets the lowest number that is free, and so the folder of a node that had it
// before: what that left in its write-ahead buffer gets into the log.
func (c *Cluster) Add(ctx context.Context) (*Node, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	number := 1
	for c.Node(nodeName(number)) != nil {
		number++
	}
	if number > clusterNodesMax {
		return nil, fmt.Errorf("a cluster has at most %d nodes", clusterNodesMax)
	}
	n, err := c.newNode(number)
	if err != nil {
		return nil, err
	}
	if err := n.Restart(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("add %s: %w", n.Name, err), n.Kill())
	}
	nodes := slices.Insert(c.Nodes(), number-1, n) // no number below is free
	if err := c.Nginx.SetServers(ctx, addressesOf(nodes)...); err != nil {
		return nil, errors.Join(fmt.Errorf("add %s: %w", n.Name, err), n.Kill())
	}
	c.setNodes(nodes)
	return n, nil
}

// Remove drains a node, waits for its end and then takes it out of nginx. A node
// that was killed is only taken out.
//
// SIGTERM comes first and nginx second, for the sake of clients. Until the node
// has ended it answers 503 with no_side_effects to what it no longer takes, which
// a client may send again; afterwards it refuses connections, and nginx goes on to
// the next node unnoticed. A reload in turn makes nginx close its connections to
// clients, and a request that crosses with that is answered by nobody. It cannot
// be had without that here, but a rolling restart, where each node comes back on
// its address, needs none: see RollingRestart.
//
// If the node could not commit all that it held it is out of the cluster
// nevertheless, and the error says so. Its folder has the rest; Add picks it up.
func (c *Cluster) Remove(ctx context.Context, n *Node) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	nodes := c.Nodes()
	i := slices.Index(nodes, n)
	if i < 0 {
		return fmt.Errorf("remove %s: no such node", n.Name)
	}
	if len(nodes) == 1 {
		return ErrLastNode
	}
	err := n.drain()
	nodes = slices.Delete(nodes, i, i+1)
	if nginxErr := c.Nginx.SetServers(ctx, addressesOf(nodes)...); nginxErr != nil {
		return errors.Join(err, fmt.Errorf("remove %s: %w", n.Name, nginxErr))
	}
	c.setNodes(nodes)
	if err != nil {
		return fmt.Errorf("remove %s: %w", n.Name, err)
	}
	return nil
}

func (c *Cluster) setNodes(nodes []*Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = nodes
}

// RestartNode drains a node, unless it does not run, and starts it again. nginx is
// left alone.
func (c *Cluster) RestartNode(ctx context.Context, n *Node) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	err := n.drain()
	// What it could not commit it finds at its start.
	if err = errors.Join(err, n.Restart(ctx)); err != nil {
		return fmt.Errorf("restart %s: %w", n.Name, err)
	}
	return nil
}

// RollingRestart restarts one node after the other, each when the one before is
// ready again.
func (c *Cluster) RollingRestart(ctx context.Context) error {
	for _, n := range c.Nodes() {
		if err := c.RestartNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// Stop drains all nodes at once, behind nginx, so that what is under way gets its
// answer; then it ends nginx and a MinIO of the cluster's own. A node that ended by
// itself, or left something behind, is an error; one that was killed by Kill is not.
func (c *Cluster) Stop() error {
	var draining errgroup.Group
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		draining.Go(func() error {
			if errs[i] = n.drain(); errs[i] != nil {
				errs[i] = fmt.Errorf("stop %s: %w", n.Name, errs[i])
			}
			return nil
		})
	}
	_ = draining.Wait() // its functions keep their errors
	err := errors.Join(append(errs, c.stopServices())...)
	if err == nil && c.ownsDir {
		err = os.RemoveAll(c.options.Dir)
	}
	return err
}

// kill ends what there is of a cluster that did not get started.
func (c *Cluster) kill() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Kill())
	}
	errs = append(errs, c.stopServices())
	if c.ownsDir {
		errs = append(errs, os.RemoveAll(c.options.Dir)) // the errors quote the logs
	}
	return errors.Join(errs...)
}

func (c *Cluster) stopServices() error {
	var err error
	if c.Nginx != nil {
		err = c.Nginx.Stop()
	}
	if c.ownsMinIO {
		err = errors.Join(err, c.MinIO.Stop())
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
