//go:build failpoints

package localstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore/s3store"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// failpointVariable arms a failpoint, as name or name:n.
const failpointVariable = "WADI_FAILPOINT"

// workload is what must go on for a node to come by a failpoint.
type workload int

const (
	mixed     workload = iota // small requests of every kind
	bulky                     // and large ones with acks=1, that fill write-ahead files
	snapshots                 // so much journal that a snapshot is due
	garbage                   // objects that hold no records any more
	small                     // extents worth joining
)

// crashPoints are the failpoints of the product, each with the hits at which
// the node is to die: the first, and some when it is well under way.
var crashPoints = map[string]struct {
	load workload
	hits []int
	disk bool // acks=1 has to do with it
}{
	"ingest/after-seal":       {mixed, []int{1, 7, 60}, false},
	"ingest/after-upload":     {mixed, []int{1, 7, 60}, false},
	"ingest/after-commit":     {mixed, []int{1, 7, 60}, false},
	"ingest/after-wal-ack":    {mixed, []int{1, 8, 90}, true},
	"tiering/before-put":      {mixed, []int{1, 7, 60}, false},
	"tiering/after-put":       {mixed, []int{1, 7, 60}, false},
	"journal/before-put":      {mixed, []int{1, 2, 3, 9, 60}, false},
	"journal/after-put":       {mixed, []int{1, 2, 3, 9, 60}, false},
	"wal/after-write":         {mixed, []int{1, 8, 90}, true},
	"wal/after-sync":          {mixed, []int{1, 8, 90}, true},
	"wal/after-rotate":        {bulky, []int{1, 3}, true},
	"wal/before-remove":       {bulky, []int{1, 3}, true},
	"journal/before-part":     {snapshots, nil, false},
	"journal/before-manifest": {snapshots, nil, false},
	"journal/after-manifest":  {snapshots, nil, false},
	"journal/before-delete":   {snapshots, nil, false},
	"tiering/after-floor":     {garbage, nil, false},
	"tiering/before-delete":   {garbage, nil, false},
	"tiering/after-delete":    {garbage, nil, false},
	"compaction/after-claim":  {small, nil, false},
	"compaction/before-index": {small, nil, false},
	"compaction/after-upload": {small, nil, false},
	"compaction/before-swap":  {small, nil, false},
	"compaction/after-swap":   {small, nil, false},
}

// TestCrashPointsAreAll finds the failpoints in the source: none may be left out.
func TestCrashPointsAreAll(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`failpoint\.Hit\(([^)]*)\)`)
	found := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range call.FindAllSubmatch(source, -1) {
			name := string(match[1])
			if !strings.HasPrefix(name, `"`) {
				t.Errorf("%s: the name of a failpoint must be a literal, not %s", path, name)
			}
			found[strings.Trim(name, `"`)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range found {
		if _, ok := crashPoints[name]; !ok {
			t.Errorf("nothing crashes at %s", name)
		}
	}
	for name := range crashPoints {
		if !found[name] {
			t.Errorf("there is no failpoint %s", name)
		}
	}
}

// TestCrash kills a node at each step of the write path, starts it again and
// compares what it serves with what producers saw.
func TestCrash(t *testing.T) {
	for name, point := range crashPoints {
		for _, hit := range point.hits {
			armed := fmt.Sprintf("%s:%d", name, hit)
			t.Run(armed, func(t *testing.T) {
				t.Parallel()
				c := newCrash(t, point.load, plainOne, plainAll, idempotent)
				c.dieAt(armed)
				c.recover()
			})
		}
	}
}

// TestCrashWithoutDisk deletes the node's directory after the crash: what was
// acknowledged with acks=all does not depend on it.
func TestCrashWithoutDisk(t *testing.T) {
	for name, point := range crashPoints {
		if point.disk || point.load != mixed {
			continue
		}
		armed := fmt.Sprintf("%s:%d", name, point.hits[len(point.hits)-1]/2)
		t.Run(armed, func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, mixed, plainAll, idempotent)
			c.dieAt(armed)
			if err := os.RemoveAll(c.data); err != nil {
				t.Fatal(err)
			}
			c.recover()
		})
	}
}

// TestCrashAgain lets the node die again and again while it replays what the
// life before had left in the write-ahead buffer.
func TestCrashAgain(t *testing.T) {
	for _, armed := range [][]string{
		{"ingest/after-wal-ack:40", "ingest/after-seal:1", "tiering/before-put:1"},
		{"ingest/after-wal-ack:40", "tiering/after-put:1", "ingest/after-upload:1"},
		{"ingest/after-wal-ack:40", "ingest/after-commit:1", "ingest/after-commit:1"},
		{"wal/after-sync:30", "journal/after-put:1", "journal/before-put:1"},
		{"wal/after-sync:30", "journal/after-put:2", "journal/before-put:2"},
		{"wal/after-sync:30", "journal/after-put:3", "journal/before-put:3"},
		{"wal/after-write:30", "journal/after-put:4", "journal/before-put:4"},
	} {
		t.Run(strings.Join(armed, ","), func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, mixed, plainOne, plainAll, idempotent)
			for _, point := range armed {
				c.dieAt(point)
			}
			c.recover()
		})
	}
}

// TestCrashInSnapshot takes one log through a crash at each step of writing
// snapshots and of deleting what they replace.
func TestCrashInSnapshot(t *testing.T) {
	t.Parallel()
	c := newCrash(t, mixed, plainOne, plainAll, idempotent)
	c.lengthenJournal()
	c.dieAt("journal/before-part:1")
	c.dieAt("journal/before-manifest:1")
	c.dieAt("journal/after-manifest:1")
	c.lengthenJournal()
	c.dieAt("journal/before-delete:7") // the second snapshot is there
	c.recover()
}

// lengthenJournal writes so much journal that the node will be due for a
// snapshot when it leads: commits of a node id that the catalog does not know,
// which are refused, so the state stays as it is. The node must not run.
func (c *crash) lengthenJournal() {
	c.t.Helper()
	m := sharedMinIO(c.t)
	cfg := s3store.DefaultConfig()
	cfg.Bucket, cfg.Prefix, cfg.Endpoint, cfg.Region = m.Bucket, prefix(c.t), m.Endpoint, region
	cfg.AccessKey, cfg.SecretKey = m.AccessKey, m.SecretKey
	bucket, err := s3store.New(c.ctx, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() {
		if err := bucket.Close(); err != nil {
			c.t.Error(err)
		}
	}()
	logger, metrics := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	j, err := journal.New(journal.DefaultConfig(), bucket, "000", logger, metrics)
	if err != nil {
		c.t.Fatal(err)
	}
	config := catalog.DefaultConfig()
	due := config.SnapshotBytes
	config.SnapshotBytes, config.SnapshotSlots = math.MaxInt64, math.MaxInt
	other, err := catalog.New(config, j, nil, logger, metrics)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(c.ctx)
	var group errgroup.Group
	group.Go(func() error { return other.Run(ctx) })
	defer func() {
		stop()
		if err := group.Wait(); err != nil {
			c.t.Error(err)
		}
	}()
	<-other.Ready()
	const appendBytes = 50 // at least, encoded
	commit := catalog.CommitSegment{Node: uuid.New(), Upto: 1, Object: catalog.NewObject{Kind: catalog.SegmentObject}}
	commit.Units = []catalog.Unit{{Appends: make([]catalog.Append, 20_000)}}
	for i := range commit.Units[0].Appends {
		commit.Units[0].Appends[i] = catalog.Append{
			Partition: catalog.TopicPartition{Topic: uuid.New(), Partition: math.MaxInt32}, Pos: math.MaxInt32, Len: math.MaxInt32,
			CRC: math.MaxUint32, Records: math.MaxInt32, MaxTimestamp: math.MaxInt64, Expected: math.MaxInt64, Producer: recordbatch.NoProducer,
		}
	}
	for written := int64(0); written < due; written += int64(len(commit.Units[0].Appends)) * appendBytes {
		result, err := other.Propose(ctx, commit)
		if err != nil || !errors.Is(result.Err, catalog.ErrUnknownNode) {
			c.t.Fatalf("commit of an unknown node: %v, %v", result.Err, err)
		}
	}
}

// crash is a node that dies and producers that do not.
type crash struct {
	t     *testing.T
	ctx   context.Context
	data  string
	args  []string // of the node
	node  *Node
	loads []*load
}

func newCrash(t *testing.T, w workload, kinds ...kind) *crash {
	ctx, cancel := context.WithTimeout(t.Context(), loadDeadline)
	t.Cleanup(cancel)
	c := &crash{t: t, ctx: ctx, data: filepath.Join(t.TempDir(), "data")}
	small := map[kind]int{}
	for _, k := range kinds {
		small[k] = 2
	}
	c.loads = []*load{{topic: "small", partitions: 3, kinds: small, extra: 5, ledger: &ledger{}}}
	if w == bulky {
		c.loads = append(c.loads, &load{
			topic: "bulky", partitions: 2, kinds: map[kind]int{plainOne: 3}, recordSize: 900 << 10, ledger: &ledger{},
		})
	}
	return c
}

// dieAt starts the node with an armed failpoint, and the producers at the first
// time, and returns when it has died there.
func (c *crash) dieAt(armed string) {
	c.t.Helper()
	env := failpointVariable + "=" + armed
	if c.node == nil {
		c.start(env)
	} else if err := c.node.Launch(c.ctx, env); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.node.Done():
	case <-c.ctx.Done():
		c.t.Fatalf("the node does not come to %s: %s; end of its log:\n%s", armed, c.loads[0].ledger.summary(), c.node.LogTail())
	}
	for _, l := range c.loads {
		l.life.Add(1)
	}
	if !c.node.Killed() {
		c.t.Fatalf("the node was to die at %s and did otherwise; end of its log:\n%s", armed, c.node.LogTail())
	}
}

func (c *crash) start(env string) {
	c.t.Helper()
	m := sharedMinIO(c.t)
	node, err := NewNode(NodeOptions{
		Binary: wadi(c.t, "failpoints"), Store: m.StoreURL(prefix(c.t)), DataDir: c.data,
		LogFile: filepath.Join(c.t.TempDir(), "node.log"), Env: m.Env(), Args: c.args,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.node = node
	if err := node.Launch(c.ctx, env); err != nil {
		c.t.Fatal(err)
	}
	// Last in, first out: the producers end before the node does.
	c.t.Cleanup(func() {
		if err := node.Kill(); err != nil {
			c.t.Error(err)
		}
	})
	for _, l := range c.loads {
		l.api = newAPIClient(c.t, c.node.URL)
		l.run(c.ctx, c.t)
	}
}

// recover starts the node without a failpoint, lets the producers finish, and
// compares.
func (c *crash) recover() {
	c.t.Helper()
	if err := c.node.Restart(c.ctx); err != nil {
		c.t.Fatal(err)
	}
	for _, l := range c.loads {
		if err := l.finish(); err != nil {
			c.t.Fatalf("%v; end of the node's log:\n%s", err, c.node.LogTail())
		}
	}
	soon, cancel := context.WithTimeout(c.ctx, settleDeadline)
	defer cancel()
	for _, l := range c.loads {
		if err := eventually(soon, func() error { return l.checkLog(c.ctx, l.api) }); err != nil {
			c.t.Errorf("topic %s: %v", l.topic, err)
		}
		c.t.Logf("topic %s: %s", l.topic, l.ledger.summary())
	}
	if err := c.node.Stop(); err != nil {
		c.t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(c.data, "wal", "*.wal*"))
	if err != nil || len(left) > 0 {
		c.t.Errorf("write-ahead files after a stop in good order: %v, %v", left, err)
	}
	// The producers' view held; so must that of a node that never saw them.
	if err := c.node.Restart(c.ctx); err != nil {
		c.t.Fatal(err)
	}
	for _, l := range c.loads {
		if err := l.checkLog(c.ctx, l.api); err != nil {
			c.t.Errorf("topic %s after another start: %v", l.topic, err)
		}
	}
}

// checkLog reads the log and compares it with the ledger.
func (l *load) checkLog(ctx context.Context, api *apiClient) error {
	log, err := readLog(ctx, api, l.topic, l.partitions)
	if err != nil {
		return err
	}
	return l.ledger.check(log)
}
