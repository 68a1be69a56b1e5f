package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// producer sends one request at a time through the load balancer.
type producer struct {
	*workload
	number    uint32
	kind      Kind
	partition int32 // of an idempotent one
	direct    bool  // to one node after the other, past the load balancer, so that it is known who took what
	interval  time.Duration
	random    *rand.Rand

	lastAck atomic.Int64 // Unix time in ns; 0: none yet
	done    atomic.Bool

	id  producerID
	seq int64 // next record
}

// producerID is what POST /v1/producers gives.
type producerID struct {
	ID    int64 `json:"producer_id"`
	Epoch int16 `json:"epoch"`
}

func (p *producer) run(ctx context.Context) error {
	defer p.done.Store(true)
	if p.kind == Idempotent {
		if err := p.register(ctx); err != nil {
			return err
		}
	}
	due := time.Now().Add(time.Duration(p.random.Float64() * float64(p.interval)))
	for n := 0; ; n++ {
		if err := p.wait(ctx, due); err != nil || p.isFinishing() {
			return err
		}
		due = time.Now().Add(p.interval)
		r, send, err := p.build(n)
		if err != nil {
			return err
		}
		if err := p.ledger.Note(event{Type: sentEvent, Request: r.Number, Producer: p.number, Parts: r.Parts}); err != nil {
			return err
		}
		ok, err := p.deliver(ctx, r, send)
		if err != nil || !ok {
			if ended(ctx, err) {
				return nil
			}
			return err
		}
	}
}

// wait returns at a time, or when producers are to finish.
func (p *producer) wait(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.finishing:
	case <-ctx.Done():
	}
	return nil
}

func (p *producer) register(ctx context.Context) error {
	for {
		a := p.balancer.within(ctx, requestTimeout, http.MethodPost, "/v1/producers", nil)
		if a.status == http.StatusOK || a.status == http.StatusCreated {
			return json.Unmarshal(a.body, &p.id)
		}
		if !a.again() {
			p.found.Add(answers, "producer %d gets no id: %s", p.number, a)
			return nil
		}
		if err := pause(ctx, retryPause); err != nil {
			return nil
		}
	}
}

// sending is a request as it goes over the wire.
type sending struct {
	path    string
	body    []byte
	headers []string
}

// deliver sends a request, an idempotent one until it is acknowledged. It tells
// whether the producer can go on.
func (p *producer) deliver(ctx context.Context, r *Request, s sending) (bool, error) {
	for {
		target, life := p.target()
		a := target.within(ctx, requestTimeout, http.MethodPost, s.path, s.body, s.headers...)
		if ctx.Err() != nil {
			return false, nil
		}
		p.stats.answer(string(p.kind) + " " + a.kind())
		outcome := a.outcome()
		if outcome == Acked {
			if life != "" && p.cluster.life(target) != life {
				life = "" // it was started meanwhile, so either of two may have answered
			}
			return true, p.acked(ctx, r, a, life)
		}
		p.judge(target, a)
		elsewhere := a.problem.Code == "acks_one_not_offered"
		if !a.again() && !elsewhere {
			p.found.Add(answers, "request %d of producer %d (%s), from record %d: %s", r.Number, p.number, p.kind, r.Parts[0].Seq, a)
			return false, nil
		}
		if p.kind != Idempotent {
			if outcome == NoEffect {
				if err := p.ledger.Note(event{Type: refusedEvent, Request: r.Number}); err != nil {
					return false, err
				}
			}
			return true, nil
		}
		if err := pause(ctx, retryPause); err != nil {
			return false, nil
		}
	}
}

// target is where the next request goes: through the load balancer, or to a node
// of which it tells the life.
func (p *producer) target() (c *client, life string) {
	if !p.direct {
		return p.balancer, ""
	}
	nodes := p.cluster.clients() // never empty: a cluster keeps a node
	c = nodes[p.random.IntN(len(nodes))]
	return c, p.cluster.life(c)
}

func (p *producer) acked(ctx context.Context, r *Request, a answer, life string) error {
	now := time.Now()
	e := event{Type: ackedEvent, Request: r.Number, Node: life}
	var told struct {
		Results []struct {
			Partition  int32  `json:"partition"`
			BaseOffset *int64 `json:"base_offset"`
			Count      int    `json:"count"`
			Duplicate  bool   `json:"duplicate"`
		} `json:"results"`
	}
	err := json.Unmarshal(a.body, &told)
	ok := err == nil && len(told.Results) == len(r.Parts)
	records := 0
	for _, part := range r.Parts {
		records += part.Count
		for _, result := range told.Results {
			if result.Partition != part.Partition {
				continue
			}
			ok = ok && result.Count == part.Count
			if result.BaseOffset != nil {
				e.Bases = append(e.Bases, *result.BaseOffset)
				p.bounds.Acknowledged(part.Partition, *result.BaseOffset+int64(part.Count))
			}
			if result.Duplicate {
				p.stats.repeats.Add(1)
			}
		}
	}
	if want := len(r.Parts); !ok || p.kind != PlainOne && len(e.Bases) != want {
		p.found.Add(answers, "request %d of producer %d (%s) is acknowledged as something else: %s", r.Number, p.number, p.kind, a)
		e.Bases = nil
	}
	if err := p.ledger.Sync(ctx, e); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	p.stats.records.Add(int64(records))
	requests := p.stats.requests.Add(1)
	p.lastAck.Store(now.UnixNano())
	if p.acknowledged != nil {
		p.acknowledged(int(p.number), now)
	}
	if e.Bases != nil && p.ReadBackOne > 0 && requests%int64(p.ReadBackOne) == 0 {
		select {
		case p.readBacks <- readBack{
			partition: r.Parts[0].Partition, offset: e.Bases[0], id: RecordID{p.number, uint32(r.Parts[0].Seq)},
		}:
		default: // those that are waiting will do
		}
	}
	return nil
}

// build makes the next request.
func (p *producer) build(n int) (*Request, sending, error) {
	r := &Request{Number: p.requests.Add(1), Producer: p.number}
	count := p.RecordsMin + p.random.IntN(p.RecordsMax-p.RecordsMin+1)
	acks := "?acks=all"
	if p.kind == PlainOne {
		acks = "?acks=1"
	}
	partition := p.partition
	if p.kind != Idempotent {
		partition = int32(p.random.IntN(p.Partitions - 1)) // never the one that is trimmed
	}
	onPartition := p.topic.path(partition) + "/records" + acks
	if n%3 != 0 { // batches
		s := sending{path: onPartition, headers: []string{"Content-Type", mediaBatch}}
		producer := recordbatch.NoProducer
		if p.kind == Idempotent {
			producer = recordbatch.Producer{ID: p.id.ID, Epoch: p.id.Epoch, BaseSequence: int32(p.seq)}
		}
		var err error
		s.body, err = p.batch(r, partition, count, producer)
		return r, s, err
	}
	s := sending{headers: []string{"Content-Type", mediaJSON}}
	var body jsonBody
	if p.kind == Idempotent {
		s.path = onPartition
		s.headers = append(s.headers, "Producer-Id", strconv.FormatInt(p.id.ID, 10),
			"Producer-Epoch", strconv.Itoa(int(p.id.Epoch)), "Producer-Seq", strconv.FormatInt(p.seq, 10))
		p.text(&body, r, partition, count, false)
	} else { // over two partitions, in one atom
		s.path = fmt.Sprintf("/v1/topics/%s/records%s", p.topic.name, acks)
		p.text(&body, r, partition, (count+1)/2, true)
		if second := (partition + 1) % int32(p.Partitions-1); second != partition {
			p.text(&body, r, second, (count+1)/2, true)
		}
	}
	var err error
	s.body, err = json.Marshal(body)
	return r, s, err
}

// part adds records to a request.
func (p *producer) part(r *Request, partition int32, count int) (first int64) {
	first = p.seq
	r.Parts = append(r.Parts, Part{Partition: partition, Seq: first, Count: count})
	p.seq += int64(count)
	return first
}

func (p *producer) batch(r *Request, partition int32, count int, producer recordbatch.Producer) ([]byte, error) {
	now := time.Now().UnixMilli()
	first := p.part(r, partition, count)
	records := make([]recordbatch.Record, count)
	for i := range records {
		records[i] = recordbatch.Record{
			Timestamp: now, Value: appendValue(nil, p.topic.run, RecordID{p.number, uint32(first) + uint32(i)}, p.FillBytes),
		}
	}
	return recordbatch.Append(nil, records, recordbatch.LZ4, producer)
}

type jsonBody struct {
	Records []jsonRecord `json:"records"`
}

type jsonRecord struct {
	Value     string `json:"value"`
	Partition *int32 `json:"partition,omitempty"`
}

func (p *producer) text(body *jsonBody, r *Request, partition int32, count int, named bool) {
	first := p.part(r, partition, count)
	for i := range count {
		record := jsonRecord{Value: string(appendValue(nil, p.topic.run, RecordID{p.number, uint32(first) + uint32(i)}, p.FillBytes))}
		if named {
			record.Partition = &partition
		}
		body.Records = append(body.Records, record)
	}
}
