package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// recordHeaderPrefix begins the request headers that become headers of a raw
// record. HTTP does not keep the case of header names, so the rest of the name
// is stored in lower case; headers are sorted by name.
const recordHeaderPrefix = "Record-Header-"

// produceRequest is a produce request up to its body.
type produceRequest struct {
	*exchange
	name      string
	partition int32 // of the resource, or ingest.AnyPartition
	media     string
	opts      ingest.Options
	keyField  string // of NDJSON lines
	hasKey    bool   // NDJSON lines have a key field, a raw record has a key
	key       string // of a raw record

	topic *catalog.Topic
}

// produce serves POST of records to a topic or partition.
func (s *Server) produce(x *exchange) error {
	p := &produceRequest{exchange: x, partition: ingest.AnyPartition}
	if err := p.parse(); err != nil {
		return err
	}
	// A node that takes no records at the moment, or ever, creates no topic either.
	room, err := s.producer.Reserve(0)
	if err != nil {
		return err
	}
	room.Release()
	ctx, cancel := x.working()
	defer cancel()
	if err := p.findTopic(ctx); err != nil {
		return err
	}
	if p.opts.Token != "" || p.opts.Key.Name != "" {
		if err := s.keysAllowed(ctx); err != nil {
			return err
		}
	}
	p.body.room = p.decoderRoom
	if err := p.decodeBody(); err != nil {
		return err
	}
	return p.stillTrue(ctx, p.produceBody())
}

// decoderRoom is a roomFunc. The decoder of a produce request counts as its body
// does.
func (p *produceRequest) decoderRoom(n int64) (release func(), err error) {
	budget, err := p.s.producer.Reserve(n)
	if err != nil {
		return nil, err
	}
	leave, err := p.s.decoderRoom(n)
	if err != nil {
		budget.Release()
		return nil, err
	}
	return func() {
		leave()
		budget.Release()
	}, nil
}

func (p *produceRequest) produceBody() error {
	switch p.media {
	case mediaJSON:
		return p.produceJSON()
	case mediaNDJSON:
		return p.produceLines()
	case mediaRecordBatch:
		return p.produceBatches()
	default:
		return p.produceRaw()
	}
}

// stillTrue looks whether a refusal that rests on the topic's settings rests on
// those that it has now. The body is gone by then, so if the replica was behind
// the client is asked to send it again.
func (p *produceRequest) stillTrue(ctx context.Context, refusal error) error {
	if refusal == nil {
		return nil
	}
	if status := toProblem(refusal, 0).kind.status; status != http.StatusRequestEntityTooLarge && status != http.StatusNotFound {
		return refusal
	}
	now, err := p.s.confirmedTopic(ctx, p.name)
	if err != nil {
		return err
	}
	if now.ID != p.topic.ID || now.Partitions != p.topic.Partitions || now.Config != p.topic.Config {
		return kindSettingsChanged.newf("topic %s has just got other settings; send the request again", p.name).with("topic", p.name)
	}
	return refusal
}

// parse reads all of a request that is not its body.
func (p *produceRequest) parse() error {
	var err error
	if p.name, err = p.topicParam(); err != nil {
		return err
	}
	if strings.Contains(p.r.Pattern, "{partition}") {
		if p.partition, err = p.partitionParam(); err != nil {
			return err
		}
	}
	if p.media, err = contentType(p.r); err != nil {
		return err
	}
	if p.media == mediaRecordBatch && p.partition == ingest.AnyPartition {
		return kindMediaType.newf("record batches go to a partition: /v1/topics/%s/partitions/{partition}/records", p.name)
	}
	q := parseQuery(p.r)
	switch acks, ok := q.take("acks"); {
	case !ok, acks == "all":
	case acks == "1":
		p.opts.Acks = ingest.AcksOne
	default:
		q.fail(parameterf("acks", "must be all or 1"))
	}
	switch p.media {
	case mediaJSON, mediaRecordBatch:
	case mediaNDJSON:
		p.keyField, p.hasKey = q.take("key_field")
	default:
		p.key, p.hasKey = q.take("key")
	}
	if err := q.done(); err != nil {
		return err
	}
	return p.parseConditions()
}

// parseConditions reads the headers of idempotence and concurrency.
func (p *produceRequest) parseConditions() error {
	p.opts.Producer = recordbatch.NoProducer
	p.opts.Expected = catalog.AnyOffset
	h := p.r.Header
	expected, hasExpected, err := integerHeader(h, "Expected-Offset", math.MaxInt64)
	if err != nil {
		return err
	}
	names := [...]string{"Producer-Id", "Producer-Epoch", "Producer-Seq"}
	highest := [...]int64{math.MaxInt64, math.MaxInt16, math.MaxInt32}
	var values [len(names)]int64
	given := 0
	for i, name := range names {
		value, ok, err := integerHeader(h, name, highest[i])
		if err != nil {
			return err
		}
		if ok {
			given++
		}
		values[i] = value
	}
	token, hasToken, err := singleHeader(h, "Fencing-Token")
	if err != nil {
		return err
	}
	if hasToken && !catalog.ValidToken(token) {
		return headerf("Fencing-Token", "%s", tokenRule)
	}
	p.opts.Token = token
	if p.opts.Key.Name, err = p.idempotencyKey(); err != nil {
		return err
	}
	hasKey := p.opts.Key.Name != ""
	if given == 0 && !hasExpected && !hasToken && !hasKey {
		return nil
	}
	switch {
	case given != 0 && given != len(names):
		return kindInvalidHeader.newf("headers %s belong together", strings.Join(names[:], ", "))
	case p.partition == ingest.AnyPartition && (given != 0 || hasExpected || hasToken):
		return kindNeedsPartition.newf("headers Producer-*, Expected-Offset and Fencing-Token need /v1/topics/%s/partitions/{partition}/records", p.name)
	case p.opts.Acks == ingest.AcksOne:
		return kindNeedsAcksAll.newf("%v", ingest.ErrNeedsAcksAll)
	case given != 0 && p.media == mediaRecordBatch:
		return kindInvalidHeader.newf("a record batch names its producer itself; headers Producer-* do not go with it")
	case given != 0 && hasKey:
		return ingest.ErrTwoKeys
	}
	if hasExpected {
		p.opts.Expected = catalog.Offset(expected)
	}
	if given != 0 {
		p.opts.Producer = recordbatch.Producer{ID: values[0], Epoch: int16(values[1]), BaseSequence: int32(values[2])}
	}
	return nil
}

// keysAllowed refuses what the catalog's feature level does not know yet, before
// the body is read.
func (s *Server) keysAllowed(ctx context.Context) error {
	if s.topics.View().KeysAllowed() == nil {
		return nil
	}
	view, err := s.topics.Confirm(ctx)
	if err != nil {
		return err
	}
	return view.KeysAllowed()
}

// findTopic finds the topic, or makes it if the node does so.
func (p *produceRequest) findTopic(ctx context.Context) error {
	t, err := p.s.topic(ctx, p.name)
	var unknown *problem
	if p.s.cfg.AutoCreateTopics && errors.As(err, &unknown) && unknown.kind == kindTopicNotFound {
		t, err = p.s.autoCreate(ctx, p.name)
	}
	if err == nil && p.partition >= t.Partitions {
		if t, err = p.s.confirmedTopic(ctx, p.name); err == nil {
			err = checkPartition(t, p.partition)
		}
	}
	p.topic = t
	return err
}

func (s *Server) autoCreate(ctx context.Context, name string) (*catalog.Topic, error) {
	edit := catalog.CreateTopic{Name: name, Partitions: s.cfg.DefaultPartitions, Config: catalog.DefaultTopicConfig()}
	_, err := s.proposeTopic(ctx, edit)
	if err != nil && !errors.Is(err, catalog.ErrTopicExists) { // another may have been faster, with other settings
		return nil, err
	}
	return s.confirmedTopic(ctx, name)
}

// readBody reserves budget for the body and reads it.
func (p *produceRequest) readBody(limit int64, tooLarge *problem) ([]byte, Reservation, error) {
	length := p.r.ContentLength
	if p.announced(limit) {
		return nil, nil, tooLarge
	}
	// Room for all of the body that is announced is asked for before any of it is
	// read, and held as it comes: a client that sends slowly must not keep others
	// out.
	budget, err := p.s.producer.Reserve(max(length, 0))
	if err != nil {
		return nil, nil, err
	}
	budget.Release()
	text, err := p.body.readAll(length, limit, budget.Grow, tooLarge)
	if err != nil {
		budget.Release()
		return nil, nil, err
	}
	return text, budget, nil
}

func bodyTooLarge(limit int64) *problem {
	return kindBodyTooLarge.newf("the body is over the limit of %d bytes", limit).with("limit", limit)
}

func (p *produceRequest) rules(budget Reservation) recordRules {
	return recordRules{
		recordBytesMax: int(p.topic.Config.MaxMessageBytes),
		recordsMax:     p.s.cfg.RecordsMax,
		headersMax:     p.s.cfg.RecordHeadersMax,
		partition:      p.partition,
		partitions:     p.topic.Partitions,
		now:            time.Now().UnixMilli(),
		grow:           budget.Grow,
	}
}

func (p *produceRequest) produceJSON() error {
	limit := p.s.cfg.JSONBodyBytesMax
	text, budget, err := p.readBody(limit, bodyTooLarge(limit))
	if err != nil {
		return err
	}
	defer budget.Release()
	p.identify(text, nil)
	records, err := decodeRecords(text, p.rules(budget))
	var unknown *unknownPartition
	if errors.As(err, &unknown) {
		ctx, cancel := p.working()
		defer cancel()
		if p.topic, err = p.s.confirmedTopic(ctx, p.name); err != nil {
			return err
		}
		if unknown.partition >= p.topic.Partitions {
			return unknown
		}
		records, err = decodeRecords(text, p.rules(budget))
	}
	if err != nil {
		return err
	}
	return p.commitRecords(records)
}

func (p *produceRequest) produceRaw() error {
	limit := int64(p.topic.Config.MaxMessageBytes)
	tooLarge := kindRecordTooLarge.newf("the record is over max.message.bytes of %d", limit).with("limit", limit)
	headers, err := p.recordHeaders()
	if err != nil {
		return err
	}
	value, budget, err := p.readBody(limit, tooLarge)
	if err != nil {
		return err
	}
	defer budget.Release()
	p.identify(value, headers)
	r := ingest.Record{Partition: p.partition}
	r.Timestamp = time.Now().UnixMilli()
	r.Value = value
	r.Headers = headers
	if p.hasKey {
		r.Key = []byte(p.key)
	}
	if size := recordSize(&r.Record); int64(size) > limit {
		return recordTooLarge(size, int(limit))
	}
	return p.commitRecords([]ingest.Record{r})
}

func (p *produceRequest) recordHeaders() ([]recordbatch.RecordHeader, error) {
	var headers []recordbatch.RecordHeader
	for name, values := range p.r.Header {
		suffix, ok := strings.CutPrefix(name, recordHeaderPrefix)
		if !ok {
			continue
		}
		if suffix == "" {
			return nil, headerf(recordHeaderPrefix, "lacks the name of the record's header")
		}
		for _, value := range values {
			headers = append(headers, recordbatch.RecordHeader{Key: strings.ToLower(suffix), Value: []byte(value)})
		}
	}
	if len(headers) > p.s.cfg.RecordHeadersMax {
		return nil, kindRecordTooLarge.newf("a record has at most %d headers", p.s.cfg.RecordHeadersMax).
			with("limit", int64(p.s.cfg.RecordHeadersMax))
	}
	slices.SortStableFunc(headers, func(a, b recordbatch.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	return headers, nil
}

func (p *produceRequest) produceBatches() error {
	limit := p.s.cfg.BatchBodyBytesMax
	text, budget, err := p.readBody(limit, bodyTooLarge(limit))
	if err != nil {
		return err
	}
	defer budget.Release()
	if len(text) == 0 {
		return ingest.ErrNoRecords
	}
	p.identify(text, nil)
	ctx, cancel := p.working()
	defer cancel()
	var results []ingest.Result
	tries := 0
	err = p.s.withTopic(ctx, p.topic, func(t *catalog.Topic) error {
		if tries++; tries > 1 && t.Config.MessageTimestampType == catalog.LogAppendTime {
			// The first try has stamped the batches, and stamped ones are refused.
			return kindNotCommitted.newf("the topic was created anew; send the batches again")
		}
		var err error
		results, err = p.s.producer.ProduceBatches(ctx, t, p.partition, text, p.opts)
		return err
	})
	if err != nil {
		return err
	}
	p.acknowledge(results)
	return nil
}

func (p *produceRequest) commitRecords(records []ingest.Record) error {
	ctx, cancel := p.working()
	defer cancel()
	var results []ingest.Result
	err := p.s.withTopic(ctx, p.topic, func(t *catalog.Topic) error {
		var err error
		results, err = p.s.producer.ProduceRecords(ctx, t, records, p.opts)
		return err
	})
	if err != nil {
		return err
	}
	p.acknowledge(results)
	return nil
}

// status is what a success is answered with.
func (p *produceRequest) status() int {
	if p.opts.Acks == ingest.AcksOne {
		return http.StatusAccepted
	}
	return http.StatusOK
}

func (p *produceRequest) acknowledge(results []ingest.Result) {
	text := append([]byte{'{'}, `"results":`...)
	text = p.appendResults(text, results)
	p.answer(p.status(), append(text, "}\n"...))
}

// appendResults appends the results as a JSON array, and counts them.
func (p *produceRequest) appendResults(dst []byte, results []ingest.Result) []byte {
	dst = append(dst, '[')
	records := 0
	for i, r := range results {
		records += r.Records
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"partition":`...)
		dst = strconv.AppendInt(dst, int64(r.Partition), 10)
		if p.opts.Acks == ingest.AcksAll {
			dst = append(dst, `,"base_offset":`...)
			dst = strconv.AppendInt(dst, int64(r.BaseOffset), 10)
		}
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendInt(dst, int64(r.Records), 10)
		if p.opts.Acks == ingest.AcksAll {
			dst = append(dst, `,"timestamp":`...)
			dst = strconv.AppendInt(dst, r.Timestamp, 10)
		}
		if r.Duplicate {
			dst = append(dst, `,"duplicate":true`...)
		}
		dst = append(dst, '}')
	}
	p.s.metrics.records.WithLabelValues("produce").Add(float64(records))
	return append(dst, ']')
}
