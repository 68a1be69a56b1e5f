package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Load is what runs on a log: producers, readers that hold their positions for
// long, and for each name of a topic somebody who trims it, changes its settings,
// deletes it and makes it anew.
type Load struct {
	Model *Model
	HTTP  *http.Client
	Nodes []string // base URLs

	Topics     int
	Partitions int32 // of each, at most
	Producers  int
	Readers    int // half of them follow streams now and then

	RecordsMax int           // of a request
	SizeMax    int           // of a value
	Between    time.Duration // requests of a producer; twice that at most
	AcksOne    bool          // some records are sent with acks=1
	Timeout    time.Duration // of a request
	Settings   []Settings    // that topics get
	// HoldMax is the longest that a reader keeps still.
	HoldMax time.Duration
	// ChurnMin is how long a topic lives, at least, before it is made anew.
	ChurnMin time.Duration
	// Lasting topics are not deleted.
	Lasting int
}

// Run puts the load on until ctx ends, and then lets every reader come to the end
// of the log, for which they have until finish ends. Make must have returned.
func (l *Load) Run(ctx, finish context.Context, rng *rand.Rand, w *Wardens) {
	var working sync.WaitGroup
	c := &client{http: l.HTTP, model: l.Model}
	fork := func() *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }
	for range l.Producers {
		rng := fork()
		working.Go(func() { l.produce(ctx, c, rng) })
	}
	for _, k := range w.all {
		rng := fork()
		working.Go(func() { k.run(ctx, rng) })
	}
	for i := range l.Readers {
		r := &reader{Load: l, client: c, rng: fork(), streams: i%2 == 1, many: i%4 == 2}
		working.Go(func() { r.run(ctx, finish) })
	}
	working.Wait()
}

func nameOf(topic int) string { return fmt.Sprintf("topic-%d", topic) }

func (l *Load) anyTopic(rng *rand.Rand) (name string, partition int32) {
	return nameOf(rng.IntN(l.Topics)), rng.Int32N(l.Partitions)
}

func (l *Load) anyNode(rng *rand.Rand) string { return l.Nodes[rng.IntN(len(l.Nodes))] }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// produce sends requests until ctx ends.
func (l *Load) produce(ctx context.Context, c *client, rng *rand.Rand) {
	for ctx.Err() == nil {
		name, number := l.anyTopic(rng)
		n := 1 + rng.IntN(l.RecordsMax)
		sizes, timestamps := make([]int, n), make([]int64, n)
		for i := range sizes {
			sizes[i] = 10 + rng.IntN(l.SizeMax-10)
			timestamps[i] = 1_600_000_000_000 + rng.Int64N(1_000_000)
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Timeout)
		c.produce(within, l.anyNode(rng), name, number, timestamps, sizes, l.AcksOne && rng.IntN(8) == 0)
		cancel()
		sleep(ctx, time.Duration(rng.Int64N(int64(2*l.Between)+1)))
	}
}

// Wardens look after the topics of a load.
type Wardens struct{ all []*warden }

// warden looks after the topic of one name, alone.
type warden struct {
	*Load
	client  *client
	name    string
	lasting bool
	topic   *Topic
	current Settings
	doubt   bool // whether a request that was given up may take effect yet
	rng     *rand.Rand
}

// Make makes the topics.
func (l *Load) Make(ctx context.Context, rng *rand.Rand) *Wardens {
	w := &Wardens{}
	c := &client{http: l.HTTP, model: l.Model}
	for i := range l.Topics {
		k := &warden{Load: l, client: c, name: nameOf(i), lasting: i < l.Lasting, rng: rand.New(rand.NewPCG(rng.Uint64(), 21))}
		k.make(ctx)
		w.all = append(w.all, k)
	}
	return w
}

// ask sends a request again and again until the answer is one of those that are
// waited for.
func (k *warden) ask(ctx context.Context, method, path string, body any, want ...int) (status int) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, k.Timeout)
		r := k.client.do(within, method, k.anyNode(k.rng)+path, body)
		cancel()
		for _, status := range want {
			if r.status == status {
				return status
			}
		}
		if r.status != 0 {
			if p := k.client.problemOf(method+" "+path, r); !p.NoSideEffects {
				k.doubt = true
			}
		} else if !r.unsent {
			k.doubt = true
		}
		sleep(ctx, time.Duration(100+k.rng.IntN(400))*time.Millisecond)
	}
	return 0
}

func (k *warden) make(ctx context.Context) {
	k.current = k.Settings[k.rng.IntN(len(k.Settings))]
	k.topic = k.Model.Creating(k.name, k.Partitions, k.current)
	body := map[string]any{"partitions": k.Partitions, "config": configOf(k.current)}
	if k.ask(ctx, http.MethodPut, "/v1/topics/"+k.name, body, http.StatusOK, http.StatusCreated) != 0 {
		k.topic.Created()
	}
}

func configOf(s Settings) map[string]int64 {
	return map[string]int64{"retention.ms": s.RetentionMs, "retention.bytes": s.RetentionBytes}
}

func (k *warden) run(ctx context.Context, rng *rand.Rand) {
	k.rng = rng
	born := time.Now()
	for ctx.Err() == nil {
		sleep(ctx, k.ChurnMin/8+time.Duration(rng.Int64N(int64(k.ChurnMin/4))))
		if ctx.Err() != nil {
			return
		}
		switch n := rng.IntN(10); {
		case n < 6:
			k.trim(ctx)
		case n < 8:
			k.alter(ctx)
		case !k.lasting && time.Since(born) > k.ChurnMin:
			k.replace(ctx)
			born = time.Now()
		}
	}
}

func (k *warden) trim(ctx context.Context) {
	number := k.rng.Int32N(k.Partitions)
	start, end := k.Model.known(k.name, number)
	if end <= start {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.Timeout)
	defer cancel()
	q := k.Model.Ask(k.anyNode(k.rng), k.name, number, start+k.rng.Int64N(end-start+1))
	if r := k.client.trim(within, q); r.status != http.StatusOK && !r.unsent {
		if r.status != 0 {
			k.client.problemOf("trim of "+k.name, r)
		}
		k.doubt = true
	}
}

// alter gives the topic other settings. Unless all requests were answered one that
// was given up may give it others later.
func (k *warden) alter(ctx context.Context) {
	k.settle(ctx)
	if ctx.Err() != nil {
		return
	}
	to := k.Settings[k.rng.IntN(len(k.Settings))]
	k.topic.Altering(to)
	k.current = to
	ctx = context.WithoutCancel(ctx)
	k.ask(ctx, http.MethodPatch, "/v1/topics/"+k.name, map[string]any{"config": configOf(to)}, http.StatusOK)
	if !k.doubt {
		k.topic.Altered()
	}
}

// settle waits until nothing that was given up can take effect any more.
func (k *warden) settle(ctx context.Context) {
	if k.doubt {
		sleep(ctx, k.Model.slack.Late)
		k.doubt = false
	}
}

// replace deletes the topic, leaves the name without one for a while, and makes
// another.
func (k *warden) replace(ctx context.Context) {
	k.settle(ctx)
	if ctx.Err() != nil {
		return
	}
	k.topic.Deleting()
	// To its end: nobody else knows how far it got.
	k.ask(context.WithoutCancel(ctx), http.MethodDelete, "/v1/topics/"+k.name, nil, http.StatusNoContent, http.StatusNotFound)
	k.topic.Deleted()
	sleep(ctx, time.Duration(k.rng.Int64N(int64(k.ChurnMin/4))))
	k.settle(ctx)
	if ctx.Err() == nil { // otherwise a deletion may still land
		k.make(context.WithoutCancel(ctx))
	}
}
