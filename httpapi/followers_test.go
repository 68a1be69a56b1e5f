package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/faultstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
	"github.com/wadilog/wadi/reader"
	"github.com/wadilog/wadi/tiering"
)

// wholeNode is everything that a node has, on a store that counts requests. Its
// reader is not told of what was just written, so that it must load all of it.
type wholeNode struct {
	*testAPI
	reader *reader.Reader

	mu       sync.Mutex
	requests map[string]int // by operation and key; guarded by mu
}

type cold struct{}

func (cold) Warm(catalog.ObjectID, []byte) {}

type ready struct{}

func (ready) Ready() error { return nil }

func newWholeNode(t *testing.T) *wholeNode {
	t.Helper()
	n := &wholeNode{requests: map[string]int{}}
	store := faultstore.New(memstore.New())
	store.SetHook(func(op, key string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.requests[op+" "+key]++
	})
	reg := prometheus.NewRegistry()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	j, err := journal.New(journal.DefaultConfig(), store, "000", discard(), reg)
	must(err)
	c, err := catalog.New(catalog.DefaultConfig(), j, nil, discard(), reg)
	must(err)
	n.reader, err = reader.New(reader.DefaultConfig(), c, store, reg)
	must(err)
	uploader := tiering.NewUploader(tiering.DefaultUploaderConfig(), store, discard(), reg)
	g, err := ingest.New(ingest.DefaultConfig(), c, uploader, cold{}, nil, discard(), reg)
	must(err)
	s, err := NewServer(DefaultConfig(), NewProducer(g), n.reader, c, ready{}, discard(), reg)
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)

	ctx, stop := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Run(ctx) })
	group.Go(func() error { return g.Run(ctx) })
	hs := s.HTTPServer()
	group.Go(func() error { return hs.Serve(l) })
	transport := &http.Transport{}
	t.Cleanup(func() {
		n.reader.EndWaits()
		transport.CloseIdleConnections()
		if err := hs.Shutdown(context.Background()); err != nil {
			t.Errorf("shut down: %v", err)
		}
		stop()
		if err := group.Wait(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
			t.Errorf("node: %v", err)
		}
		n.reader.Close()
		must(g.Close())
	})
	for _, part := range []<-chan struct{}{c.Ready(), g.Ready()} {
		select {
		case <-part:
		case <-time.After(time.Minute):
			t.Fatal("the node does not get ready")
		}
	}
	n.testAPI = &testAPI{t: t, server: s, url: "http://" + l.Addr().String(), client: &http.Client{Transport: transport}}
	return n
}

// counted returns how many requests there were to keys that hold part, and the
// most to one of them.
func (n *wholeNode) counted(op, part string) (all, most int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, count := range n.requests {
		if strings.HasPrefix(name, op) && strings.Contains(name, part) {
			all += count
			most = max(most, count)
		}
	}
	return all, most
}

// follower is one reader of events.
type follower struct {
	conn net.Conn
	in   *bufio.Reader
	next int
}

// followEvents opens a stream and reads its first event, a ping.
func followEvents(address, query string) (*follower, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s%s HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", partitionRecords, query, acceptEvents); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 1<<10)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != 200 {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return &follower{conn: conn, in: bufio.NewReaderSize(res.Body, 1<<10)}, nil
}

// read takes events until it has seen the records up to end, each in its turn.
// The value of a record is its offset.
func (f *follower) read(end int) error {
	for f.next < end {
		line, err := f.in.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "event: error") {
			rest, _ := io.ReadAll(f.in)
			return fmt.Errorf("the stream ended: %s", rest)
		}
		data, ok := strings.CutPrefix(line, `data: {"records":[`)
		if !ok {
			continue
		}
		for data[0] != ']' {
			want := fmt.Sprintf(`{"offset":%d,"timestamp":1,"key":null,"value":"%d","headers":[]}`, f.next, f.next)
			rest, ok := strings.CutPrefix(strings.TrimPrefix(data, ","), want)
			if !ok {
				return fmt.Errorf("%.100s where %s should be", data, want)
			}
			data = rest
			f.next++
		}
	}
	return nil
}

// TestThousandFollowers: each of them gets every record in order, and the store
// does not notice how many they are.
func TestThousandFollowers(t *testing.T) {
	const (
		followers = 1000
		bodies    = 20
		each      = 5
	)
	n := newWholeNode(t)
	n.topic("1")
	address := strings.TrimPrefix(n.url, "http://")
	all := make([]*follower, followers)
	var opening errgroup.Group
	opening.SetLimit(50)
	for i := range all {
		opening.Go(func() (err error) {
			all[i], err = followEvents(address, "?offset=earliest")
			return err
		})
	}
	if err := opening.Wait(); err != nil {
		t.Fatal(err)
	}
	if open := n.server.streams.inside.Load(); open != followers {
		t.Fatalf("%d streams are open", open)
	}
	before, _ := n.counted("", "")
	var reading errgroup.Group
	for _, f := range all {
		reading.Go(func() error {
			defer f.conn.Close()
			return f.read(bodies * each)
		})
	}
	for body := range bodies {
		var records []string
		for i := range each {
			records = append(records, fmt.Sprintf(`{"value":"%d","timestamp":1}`, body*each+i))
		}
		n.want(200, n.do("POST", partitionRecords, `{"records":[`+strings.Join(records, ",")+`]}`, "Content-Type", typeJSON))
	}
	if err := reading.Wait(); err != nil {
		t.Fatal(err)
	}
	requests, _ := n.counted("", "")
	loads, most := n.counted(objstore.OpGet, "segments/")
	if most != 1 || loads == 0 {
		t.Errorf("%d loads of segments, up to %d of one", loads, most)
	}
	// For each body a segment, an entry and a load, and now and then a question
	// whether the replica is current.
	if requests -= before; requests > 6*bodies {
		t.Errorf("%d requests to the store for %d bodies", requests, bodies)
	}
	t.Logf("%d followers, %d records each: %d requests to the store, %d of them loads of segments", followers, bodies*each, requests, loads)
}

// TestFollowersAreTold of a deletion, and of the end of their node, at once.
func TestFollowersAreTold(t *testing.T) {
	n := newWholeNode(t)
	n.topic("1")
	address := strings.TrimPrefix(n.url, "http://")
	for range 3 {
		n.want(200, n.do("POST", partitionRecords, "x"))
	}
	f, err := followEvents(address, "?offset=latest")
	if err != nil {
		t.Fatal(err)
	}
	n.want(204, n.do("DELETE", "/v1/topics/t", ""))
	if err := f.read(1); err == nil || !strings.Contains(err.Error(), `"code":"topic_not_found"`) {
		t.Errorf("after the deletion: %v", err)
	}
	n.topic("1")
	if f, err = followEvents(address, "?offset=0"); err != nil {
		t.Fatal(err)
	}
	n.reader.EndWaits()
	if err := f.read(1); err == nil || !strings.Contains(err.Error(), `"detail":"draining"`) {
		t.Errorf("while the node drains: %v", err)
	}
}

// BenchmarkFollowerMemory measures what one more reader of events takes, heap and
// stacks: one that waits at the end, and one that does not take what was sent.
func BenchmarkFollowerMemory(b *testing.B) {
	const followers = 1000
	for _, state := range []string{"waiting", "slow"} {
		b.Run(state, func(b *testing.B) {
			total := 0.0
			for range b.N {
				total += followerMemory(b, followers, state == "slow")
			}
			b.ReportMetric(total/float64(b.N), "B/follower")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func followerMemory(b *testing.B, followers int, slow bool) float64 {
	node := newMemoryNode()
	cfg := DefaultConfig()
	cfg.StreamWriteTimeout = time.Hour
	s, err := NewServer(cfg, node, node, node, node, discard(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	hs := s.HTTPServer()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	ask := func(request string) (net.Conn, *bufio.Reader) {
		client, server := net.Pipe()
		l.conns <- server
		if _, err := io.WriteString(client, request); err != nil {
			b.Fatal(err)
		}
		in := bufio.NewReaderSize(client, 16)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode >= 300 {
			b.Fatalf("%v, %v", res, err)
		}
		return client, in
	}
	conn, _ := ask("PUT /v1/topics/t HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	_ = conn.Close()
	begin := memoryInUse()
	var conns []net.Conn
	for range followers {
		conn, in := ask("GET " + partitionRecords + "?offset=0 HTTP/1.1\r\nHost: h\r\n" + acceptEvents + "\r\n\r\n")
		if _, err := in.Discard(len(pingText(0, 0, 0)) + 5); err != nil { // with the frame of its chunk
			b.Fatal(err)
		}
		conns = append(conns, conn)
	}
	if slow {
		value := strings.Repeat("x", cfg.StreamBufferBytes-1000)
		conn, _ := ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", partitionRecords, len(value), value))
		_ = conn.Close()
		for testutil.ToFloat64(s.metrics.records.WithLabelValues("fetch")) < float64(followers) { // all of them are about to send
			time.Sleep(time.Millisecond)
		}
	}
	used := float64(memoryInUse()-begin) / float64(followers)
	for _, conn := range conns {
		_ = conn.Close()
	}
	if err := hs.Shutdown(context.Background()); err != nil {
		b.Fatal(err)
	}
	<-served
	return used
}

func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
