package linear

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mix is what the clients of a history do.
type Mix uint8

const (
	// Conditions has plain, conditional and acks=1 appends, among them requests
	// for two partitions at once.
	Conditions Mix = iota
	// Repeats has idempotent appends, repeated with the same sequence, at any
	// node, until they are acknowledged.
	Repeats
)

func (m Mix) String() string { return [...]string{"conditions", "repeats"}[m] }

// Workload is a random load on one topic, over several nodes.
type Workload struct {
	Mix        Mix
	Nodes      []string // base URLs
	Partitions int32
	Operations int     // that say something of the log, at least
	Producers  []int64 // ids, one for each client of Repeats that appends
	Clients    int
	TimeoutMax time.Duration // a client gives up after a tenth of it to the whole
	PauseMax   time.Duration // between two operations of a client
	NewClient  func() *Client

	known [maxPartitions]atomic.Int64 // highest end offset that any client saw
	done  atomic.Bool

	mu       sync.Mutex
	wide     [][2]string // values of requests for two partitions, one of each; guarded by mu
	promised []string    // values of acks=1 appends that were acknowledged; guarded by mu
}

const maxPartitions = 16

// Run sends operations until there are enough, or ctx ends.
func (w *Workload) Run(ctx context.Context, history *History, rng *rand.Rand) {
	var clients sync.WaitGroup
	for i := range w.Clients {
		c := &worker{
			Workload: w, Client: w.NewClient(), name: fmt.Sprintf("client%d", i),
			rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(i))),
		}
		c.node = c.anyNode()
		next := c.conditions
		if w.Mix == Repeats {
			next = c.look
			if i < len(w.Producers) {
				c.producer = &producer{id: w.Producers[i], due: make([]int64, w.Partitions)}
				next = c.repeats
			}
		}
		clients.Go(func() {
			for ctx.Err() == nil && !w.done.Load() {
				next(ctx)
				if history.Count().Operations >= w.Operations {
					w.done.Store(true)
				}
				if w.PauseMax > 0 {
					time.Sleep(time.Duration(c.rng.Int64N(int64(w.PauseMax))))
				}
			}
		})
	}
	clients.Wait()
}

// worker is one client of a workload.
type worker struct {
	*Workload
	*Client
	name     string
	rng      *rand.Rand
	node     string
	made     int // values
	producer *producer
}

// producer is an idempotent producer that knows what it sends.
type producer struct {
	id      int64
	due     []int64 // sequence by partition
	pending []Record
}

func (c *worker) anyNode() string { return c.Nodes[c.rng.IntN(len(c.Nodes))] }

// attempt limits one operation; most go to the node of the one before.
func (c *worker) attempt(ctx context.Context) (context.Context, context.CancelFunc, string) {
	if c.rng.IntN(4) == 0 {
		c.node = c.anyNode()
	}
	timeout := c.TimeoutMax/10 + time.Duration(c.rng.Int64N(int64(c.TimeoutMax)*9/10))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, cancel, c.node
}

// value makes one that is used once.
func (c *worker) value() string {
	c.made++
	return fmt.Sprintf("%s-%d %x%s", c.name, c.made, c.rng.Uint64(), strings.Repeat("x", c.rng.IntN(100)))
}

func (c *worker) records(partition int32, n int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{Partition: partition, Value: c.value()}
	}
	return records
}

func (c *worker) anyPartition() int32 { return c.rng.Int32N(c.Partitions) }

// conditions sends one operation of that mix.
func (c *worker) conditions(ctx context.Context) {
	p := c.anyPartition()
	switch n := c.rng.IntN(100); {
	case n < 28:
		c.append(ctx, c.records(p, 1+c.rng.IntN(3)), Plain())
	case n < 32:
		c.appendWide(ctx, p)
	case n < 54:
		o := Plain()
		o.Expected = c.guess(p)
		c.append(ctx, c.records(p, 1+c.rng.IntN(3)), o)
	case n < 58:
		o := Plain()
		o.AcksOne = true
		records := c.records(p, 1+c.rng.IntN(2))
		if c.append(ctx, records, o).Outcome == Promised {
			c.mu.Lock()
			c.promised = append(c.promised, records[0].Value)
			c.mu.Unlock()
		}
	default:
		c.look(ctx)
	}
}

// guess is what an append may expect: mostly the end as far as anybody knows.
func (c *worker) guess(p int32) int64 {
	known := c.known[p].Load()
	switch c.rng.IntN(10) {
	case 0:
		return known + 1
	case 1:
		return c.rng.Int64N(known + 1)
	default:
		return known
	}
}

func (c *worker) append(ctx context.Context, records []Record, o AppendOptions) Response {
	ctx, cancel, node := c.attempt(ctx)
	defer cancel()
	a := c.Client.Append(ctx, node, records, o)
	switch a.Outcome {
	case Done:
		c.learn(records[0].Partition, a.Base+int64(len(records)))
	case Mismatch:
		c.learn(records[0].Partition, a.End)
	case Refused, InDoubt:
		c.node = c.anyNode()
	}
	return a
}

func (c *worker) learn(p int32, end int64) {
	for {
		known := c.known[p].Load()
		if end <= known || c.known[p].CompareAndSwap(known, end) {
			return
		}
	}
}

// appendWide sends one request for two partitions.
func (c *worker) appendWide(ctx context.Context, p int32) {
	records := append(c.records(p, 1), c.records((p+1)%c.Partitions, 1)...)
	c.mu.Lock()
	c.wide = append(c.wide, [2]string{records[0].Value, records[1].Value})
	c.mu.Unlock()
	ctx, cancel, node := c.attempt(ctx)
	defer cancel()
	c.Client.Append(ctx, node, records, Plain())
}

// look reads, or asks for an end offset.
func (c *worker) look(ctx context.Context) {
	p := c.anyPartition()
	ctx, cancel, node := c.attempt(ctx)
	defer cancel()
	if c.rng.IntN(3) == 0 {
		if end, ok := c.EndOffset(ctx, node, p); ok {
			c.learn(p, end)
		}
		return
	}
	known := c.known[p].Load()
	offset := known
	switch c.rng.IntN(6) {
	case 0, 1, 2:
	case 3:
		offset = known + 1 + c.rng.Int64N(3)
	default:
		offset = c.rng.Int64N(known + 1)
	}
	var wait time.Duration
	if c.rng.IntN(3) == 0 {
		wait = time.Duration(1+c.rng.Int64N(2000)) * time.Millisecond
	}
	_, a, ok := c.Read(ctx, node, p, offset, 1+c.rng.IntN(20), wait)
	switch {
	case ok && a.Outcome == Done:
		c.learn(p, max(offset+int64(len(a.Records)), a.High))
	case ok:
		c.learn(p, a.End)
	}
}

// repeats sends the producer's batch, which stays the same until it is
// acknowledged, or looks.
func (c *worker) repeats(ctx context.Context) {
	if c.rng.IntN(3) == 0 {
		c.look(ctx)
		return
	}
	q := c.producer
	if q.pending == nil {
		q.pending = c.records(c.anyPartition(), 1+c.rng.IntN(3))
	}
	p := q.pending[0].Partition
	o := Plain()
	o.Producer, o.Sequence = q.id, q.due[p]
	a := c.append(ctx, q.pending, o)
	switch a.Outcome {
	case Done:
		q.due[p] += int64(len(q.pending))
		q.pending = nil
	case OutOfSequence:
		c.Unexpected(fmt.Errorf("producer %d: sequence %d was refused, %d is due", q.id, o.Sequence, a.Due))
		q.due[p], q.pending = a.Due, nil
	}
}

// ReadAll reads all partitions to their ends and notes that in the history, as
// the last of its operations: the reads that Settle learns most from. It is also
// an error if half of a request is there, or if something is missing that was
// promised; each of these is more than one partition's history can show.
func (w *Workload) ReadAll(ctx context.Context, node string) error {
	c := w.NewClient()
	there := map[string]bool{}
	for p := range w.Partitions {
		for offset := int64(0); ; {
			records, a, ok := c.Read(ctx, node, p, offset, 1000, 0)
			if !ok {
				return fmt.Errorf("partition %d cannot be read from %d on", p, offset)
			}
			for _, r := range records {
				there[r.Value] = true
			}
			offset += int64(len(records))
			if a.Outcome == Done && len(records) == 0 {
				break
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.wide {
		if there[v[0]] != there[v[1]] {
			return fmt.Errorf("half of a request is there: %q is %t, %q is %t", v[0], there[v[0]], v[1], there[v[1]])
		}
	}
	for _, v := range w.promised {
		if !there[v] {
			return fmt.Errorf("%q was acknowledged with acks=1 and is not there", v)
		}
	}
	return nil
}
