package soak

import (
	"context"
	"math/rand/v2"
	"time"
)

// reader holds positions in partitions and goes on from them, now and then after
// a long time, through any node.
type reader struct {
	*Load
	client  *client
	rng     *rand.Rand
	streams bool
	many    bool // partitions at once

	node    string
	at      []Question // its positions
	corrupt int        // answers that say so, one after another
}

const (
	// fetchRecordsMax is what a reader asks for at the most.
	fetchRecordsMax = 50
	// waitMax is the longest wait for records.
	waitMax = 2 * time.Second
	// followMax is the longest that a stream is read.
	followMax = 40 * time.Second
	// corruptMax is how often in a row a reader may be told that what is stored is
	// damaged, while the store spoils some reads.
	corruptMax = 4
)

func (r *reader) run(ctx, finish context.Context) {
	r.node = r.anyNode(r.rng)
	for i := range 1 + r.rng.IntN(3) {
		if i == 0 || r.many {
			r.begin()
		}
	}
	for ctx.Err() == nil {
		r.step(ctx)
		r.pause(ctx)
	}
	r.finish(finish)
}

// begin takes up a partition, mostly at its start or somewhere in it.
func (r *reader) begin() {
	name, number := r.anyTopic(r.rng)
	for _, q := range r.at {
		if q.Topic == name && q.Partition == number {
			return
		}
	}
	r.at = append(r.at, Question{Topic: name, Partition: number, Offset: r.somewhere(name, number), Until: -1})
}

func (r *reader) somewhere(name string, number int32) int64 {
	start, end := r.Model.known(name, number)
	switch r.rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return end
	case 2:
		return r.rng.Int64N(end + 1)
	default:
		return start
	}
}

// pause is short, mostly.
func (r *reader) pause(ctx context.Context) {
	d := time.Duration(r.rng.Int64N(int64(300 * time.Millisecond)))
	if r.rng.IntN(25) == 0 {
		d = time.Duration(r.rng.Int64N(int64(r.HoldMax)))
		r.Model.Count("positions held")
	}
	sleep(ctx, d)
}

// ask is the question at a position, now and to the reader's node.
func (r *reader) ask(i int) Question {
	return r.Model.Ask(r.node, r.at[i].Topic, r.at[i].Partition, r.at[i].Offset)
}

func (r *reader) step(ctx context.Context) {
	if r.rng.IntN(5) == 0 {
		r.node = r.anyNode(r.rng)
	}
	i := r.rng.IntN(len(r.at))
	q := r.ask(i)
	wait := time.Duration(0)
	if r.rng.IntN(3) == 0 {
		wait = time.Duration(r.rng.Int64N(int64(waitMax)))
	}
	within, cancel := context.WithTimeout(ctx, r.Timeout+wait)
	defer cancel()
	switch n := r.rng.IntN(20); {
	case n == 0:
		r.client.bounds(within, q)
	case n == 1: // somebody else's position, so to say
		q.Offset = r.somewhere(q.Topic, q.Partition)
		r.client.fetch(within, q, 1+r.rng.IntN(fetchRecordsMax), 0)
	case n == 2:
		q.Until = q.Offset + 1 + r.rng.Int64N(20)
		next, o := r.client.fetch(within, q, 1+r.rng.IntN(fetchRecordsMax), wait)
		r.moved(i, next, o)
	case n == 3:
		r.at[i].Offset = r.somewhere(q.Topic, q.Partition)
	case n < 6 && r.streams:
		r.follow(ctx, i)
	case r.many:
		var qs []Question
		for i := range r.at {
			qs = append(qs, r.ask(i))
		}
		next, outcomes := r.client.fetchMany(within, qs, wait)
		for i := range qs {
			r.moved(i, next[i], outcomes[i])
		}
	default:
		next, o := r.client.fetch(within, q, 1+r.rng.IntN(fetchRecordsMax), wait)
		r.moved(i, next, o)
	}
}

// follow reads a stream for a while.
func (r *reader) follow(ctx context.Context, i int) {
	within, cancel := context.WithTimeout(ctx, time.Duration(r.rng.Int64N(int64(followMax))))
	defer cancel()
	slow := r.rng.IntN(3) == 0
	next, o := r.client.follow(within, r.ask(i), r.rng.IntN(2) == 0, func() {
		if slow {
			sleep(within, time.Duration(r.rng.Int64N(int64(3*time.Second))))
		}
	})
	r.moved(i, next, o)
}

// moved goes to where an answer leaves the reader.
func (r *reader) moved(i int, next int64, o outcome) {
	if o != corrupt {
		r.corrupt = 0
	} else if r.corrupt++; r.corrupt > corruptMax {
		r.Model.Find("%s: %s/%d is damaged at %d or after it", r.node, r.at[i].Topic, r.at[i].Partition, r.at[i].Offset)
	}
	switch o {
	case served, below, above:
		r.at[i].Offset = next
	case notFound:
		r.at[i].Offset = 0 // there may be another of the name soon
	case nothing, wrong:
		r.node = r.anyNode(r.rng)
	}
}

// finish reads on from every position to the end: nobody is stuck. Nothing is
// produced any more and nothing fails.
func (r *reader) finish(ctx context.Context) {
	for i := range r.at {
		for {
			q := r.ask(i)
			if ctx.Err() != nil {
				r.Model.Find("a reader is stuck at offset %d of %s/%d, at %s", q.Offset, q.Topic, q.Partition, q.Node)
				return
			}
			within, cancel := context.WithTimeout(ctx, r.Timeout)
			next, o := r.client.fetch(within, q, fetchRecordsMax, 0)
			cancel()
			if o == wrong || o == notFound || o == corrupt || o == served && next == q.Offset {
				break
			}
			r.moved(i, next, o)
			sleep(ctx, 10*time.Millisecond)
		}
	}
	r.Model.Count("readers at the end")
}
