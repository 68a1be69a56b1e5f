package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/client"
)

// groupBooks are what the consumers of a group say of their partitions.
type groupBooks struct {
	t  *testing.T
	mu sync.Mutex
	// Guarded by mu.
	seen     map[string]int
	at       map[string]string // records by their place
	members  []*client.GroupConsumer
	assigned map[*client.GroupConsumer]map[int32]bool
}

// owner checks that nobody but g owns a partition. The caller holds mu.
func (b *groupBooks) owner(g *client.GroupConsumer, topic string, partition int32) {
	for _, other := range b.members {
		if other != g && other.Owns(topic, partition) {
			b.t.Errorf("partition %d is owned by %s and %s", partition, g.MemberID(), other.MemberID())
		}
	}
}

func (b *groupBooks) record(g *client.GroupConsumer, r client.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owner(g, r.Topic, r.Partition)
	if !b.assigned[g][r.Partition] {
		b.t.Errorf("%s got a record of partition %d, which it does not have", g.MemberID(), r.Partition)
	}
	place := fmt.Sprintf("%d/%d", r.Partition, r.Offset)
	if value, ok := b.at[place]; ok && value != string(r.Value) {
		b.t.Errorf("%s is %s and %s", place, value, r.Value)
	}
	b.at[place] = string(r.Value)
	b.seen[string(r.Value)]++
}

func (b *groupBooks) join(c *client.Client, topic string) *client.GroupConsumer {
	var g *client.GroupConsumer
	g, err := c.ConsumeGroup(client.GroupConfig{
		Group: topic, Topics: []string{topic}, SessionTimeout: 3 * time.Second, MaxBytes: 1000, Wait: 500 * time.Millisecond,
		OnAssigned: func(partitions []client.TopicPartitions) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, p := range partitions[0].Partitions {
				b.owner(g, topic, p)
				b.assigned[g][p] = true
			}
		},
		OnRevoked: func(partitions []client.TopicPartitions, _ bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, p := range partitions[0].Partitions {
				delete(b.assigned[g], p)
			}
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = append(b.members, g)
	b.assigned[g] = map[int32]bool{}
	return g
}

// TestGroupOfConsumersThatComeAndGo has members added, closed and killed while
// records are written: each record is handed out, and no partition has two owners.
func TestGroupOfConsumersThatComeAndGo(t *testing.T) {
	const partitions, records = 6, 1500
	c, topic := dial(t, partitions)
	books := &groupBooks{t: t, seen: map[string]int{}, at: map[string]string{}, assigned: map[*client.GroupConsumer]map[int32]bool{}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	type run struct {
		kill, stop context.CancelFunc
	}
	// start runs a consumer; its context ends when it is killed or stopped, and only
	// who is stopped closes.
	start := func() run {
		g := books.join(c, topic)
		killed, kill := context.WithCancel(ctx)
		stopped, stop := context.WithCancel(killed)
		running.Go(func() {
			for r, err := range g.Records(stopped) {
				if err != nil {
					if stopped.Err() == nil {
						t.Errorf("%s: %v", g.MemberID(), err)
					}
					break
				}
				books.record(g, r)
			}
			if killed.Err() == nil {
				if err := g.Close(ctx); err != nil {
					t.Errorf("close %s: %v", g.MemberID(), err)
				}
			}
		})
		return run{kill, stop}
	}
	runs := []run{start(), start()}
	p, err := c.NewProducer(client.ProducerConfig{Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		for i := range records {
			if _, err := p.Produce(ctx, client.Record{Key: []byte(strconv.Itoa(i)), Value: []byte(strconv.Itoa(i))}); err != nil {
				t.Error(err)
				return
			}
			if i%10 == 0 {
				if err := p.Flush(ctx); err != nil {
					t.Error(err)
				}
			}
		}
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 8 {
		await(t, ctx, time.Duration(rand.IntN(400))*time.Millisecond)
		i := rand.IntN(len(runs))
		switch rand.IntN(3) {
		case 0:
			runs[i].kill()
			runs[i] = start()
		case 1:
			runs[i].stop()
			runs[i] = start()
		default:
			runs = append(runs, start())
		}
	}
	complete := func() bool {
		books.mu.Lock()
		defer books.mu.Unlock()
		return len(books.seen) == records
	}
	for !complete() && ctx.Err() == nil {
		await(t, ctx, 20*time.Millisecond)
	}
	for _, r := range runs {
		r.stop()
	}
	running.Wait()
	// What a killed member had handed out is not committed; it comes to the next.
	last := books.join(c, topic)
	for behind(t, c, topic) > 0 {
		left, err := last.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range left {
			books.record(last, r)
		}
		if err := last.Commit(ctx); err != nil && !errors.Is(err, client.ErrRebalanceInProgress) {
			t.Fatal(err)
		}
	}
	if err := last.Close(ctx); err != nil {
		t.Error(err)
	}
	books.mu.Lock()
	defer books.mu.Unlock()
	if len(books.seen) != records {
		t.Errorf("%d of %d records were handed out", len(books.seen), records)
	}
	twice := 0
	for _, n := range books.seen {
		twice += n - 1
	}
	t.Logf("%d members, %d records came again", len(books.members), twice)
}

// behind is how many records a group named as its topic has not committed.
func behind(t *testing.T, c *client.Client, topic string) int64 {
	t.Helper()
	d, err := c.DescribeGroup(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return d.Lag
}

func await(t *testing.T, ctx context.Context, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// TestGroupGoesOnWhereItWasClosed reads a bit with each of several members, one
// after the other.
func TestGroupGoesOnWhereItWasClosed(t *testing.T) {
	c, topic := dial(t, 1)
	var records []client.Record
	for i := range 20 {
		records = append(records, client.Record{
			Key: []byte{0xff, byte(i)}, Value: []byte(strconv.Itoa(i)), Headers: []client.Header{{Key: "h", Value: []byte{0xfe}}, {Key: "n"}, {Key: "t", Value: []byte("x")}},
		})
	}
	if _, err := c.Append(t.Context(), topic, 0, records, client.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	config := client.GroupConfig{Group: topic, Topics: []string{topic}, Wait: 100 * time.Millisecond}
	next := int64(0)
	for _, upto := range []int64{3, 3, 11} {
		g, err := c.ConsumeGroup(config)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range g.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Offset != next || string(r.Value) != strconv.FormatInt(next, 10) || string(r.Key) != "\xff"+string(rune(next)) ||
				len(r.Headers) != 3 || string(r.Headers[0].Value) != "\xfe" || r.Headers[1].Value != nil || string(r.Headers[2].Value) != "x" {
				t.Fatalf("record %d: %+v", next, r)
			}
			if next == upto {
				break // it does not count
			}
			next++
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Poll(t.Context()); err == nil {
			t.Error("a closed consumer polls")
		}
	}
	g, err := c.ConsumeGroup(config)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := g.Poll(t.Context())
	if err != nil || len(batch) != 9 || batch[0].Offset != 11 {
		t.Fatalf("%d records, %v", len(batch), err)
	}
	if err := g.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Trim(t.Context(), topic, 0, 20); err != nil {
		t.Fatal(err)
	}
	if err := g.Seek(topic, 0, 5); err != nil {
		t.Fatal(err)
	}
	var gone *client.GroupPartitionError
	for err == nil {
		_, err = g.Poll(t.Context())
	}
	if !errors.As(err, &gone) || !errors.Is(err, client.ErrOffsetBelowStart) || gone.Offset != 5 {
		t.Errorf("%v", err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestGroupMemberIDTaken has one process take another's place: the first one ends,
// and the second goes on.
func TestGroupMemberIDTaken(t *testing.T) {
	c, topic := dial(t, 2)
	config := client.GroupConfig{Group: topic, Topics: []string{topic}, MemberID: "job-1", Wait: 50 * time.Millisecond}
	var all [2]*client.GroupConsumer
	for i := range all {
		g, err := c.ConsumeGroup(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Poll(t.Context()); err != nil || !g.Owns(topic, 1) {
			t.Fatal(err)
		}
		all[i] = g
	}
	var taken *client.MemberTakenError
	for range 2 {
		if _, err := all[0].Poll(t.Context()); !errors.As(err, &taken) || !errors.Is(err, client.ErrMemberFenced) {
			t.Errorf("%v", err)
		}
	}
	if err := all[0].Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := all[1].Poll(t.Context()); err != nil {
		t.Error(err)
	}
	if err := all[1].Close(t.Context()); err != nil {
		t.Error(err)
	}
	members := func() int {
		d, err := c.DescribeGroup(t.Context(), topic)
		if err != nil && !errors.Is(err, client.ErrGroupNotFound) {
			t.Fatal(err)
		}
		return len(d.Members)
	}
	if n := members(); n != 1 {
		t.Errorf("%d members after Close", n)
	}
	g, err := c.ConsumeGroup(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Leave(t.Context()); err != nil || members() != 0 {
		t.Errorf("%v, %d members after Leave", err, members())
	}
}
