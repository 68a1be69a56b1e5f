package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
)

// An NDJSON body is a record per line, ended by \n; a \r before it belongs to
// the record, and so does every other byte. An empty line is a record with an
// empty value, except after the last \n, where there is none.
//
// The body is cut into chunks. Each is committed as a request of its own and is
// atomic; the body is not. The first chunk goes alone: what becomes of it is the
// status of the answer, so that a status other than success means that nothing
// is in. After it, several are on their way at once, in the order of the body:
// the next is handed over when the one before has its place in the order of commits.

// blockLen is the size in bytes of a read from an NDJSON body.
const blockLen = 64 << 10

// readBlocks is how many of them there are: one is read while the other is cut
// into lines.
const readBlocks = 2

// lineOverhead is what a line takes up in memory beside its bytes.
const lineOverhead = recordOverhead + 16

// lineStream is an NDJSON produce request under way. All of it belongs to the
// handler's goroutine, except that a chunk belongs to its own from launch to done.
type lineStream struct {
	*produceRequest
	streams bool // cut by time as well: no producer counts on where chunks end

	blocks chan block  // from the reading goroutine
	free   chan []byte // to it
	held   []byte      // of the last block, what is in no chunk yet
	spare  []byte      // the last block's buffer, to be given back
	ended  bool        // the body is, or nothing of it is wanted any more
	read   bool        // the reading goroutine has sent its last block

	filling  *lineChunk
	inFlight []*lineChunk // in order
	linger   *time.Timer

	lines    int64 // in chunks so far
	in       int64 // records that are in the log
	answered bool  // the status is out
	gone     bool  // the client does not take the answer

	problem     *problem // what ends the stream
	failedFirst int64    // the first record that it concerns
}

type block struct {
	bytes []byte
	err   error
}

// lineChunk is some consecutive lines.
type lineChunk struct {
	first  int64 // number of its first line, from 0
	text   []byte
	ends   []int // of the lines within text
	begin  int   // of the line that is not complete
	full   bool
	due    bool // it has waited long enough
	budget Reservation

	placed  chan struct{} // closed when it has its place
	done    chan struct{} // closed when it has results or err
	results []ingest.Result
	err     error
}

func (p *produceRequest) produceLines() error {
	// An overloaded node says so before it reads anything.
	budget, err := p.s.producer.Reserve(readBlocks * blockLen)
	if err != nil {
		return err
	}
	defer budget.Release()
	l := &lineStream{
		produceRequest: p,
		streams:        p.opts.Producer.ID < 0 && p.opts.Expected == catalog.AnyOffset && p.opts.Token == "",
		blocks:         make(chan block),
		free:           make(chan []byte, readBlocks),
		linger:         time.NewTimer(p.s.cfg.ChunkLinger),
	}
	l.linger.Stop()
	l.body.lines = true
	// Acks go out while the body comes in.
	_ = p.conn.EnableFullDuplex()
	go l.readBlocks()
	defer l.stopReading()
	for range readBlocks {
		l.free <- make([]byte, blockLen)
	}
	l.run()
	return l.finish()
}

// readBlocks passes the body on, block by block, until its end or until free is closed.
func (l *lineStream) readBlocks() {
	defer close(l.blocks)
	for buf := range l.free {
		n, err := l.body.Read(buf)
		l.blocks <- block{buf[:n], err}
		if err != nil {
			return
		}
	}
}

func (l *lineStream) stopReading() {
	if !l.read { // afterwards a deadline would look as if the client had gone
		l.body.stop()
	}
	close(l.free)
	for range l.blocks { // closed when the goroutine ends
	}
	l.release(l.filling)
}

// run goes on until every chunk is settled.
func (l *lineStream) run() {
	for {
		l.fill()
		if l.launch() {
			continue // the last block may hold the beginning of the next chunk
		}
		var settled chan struct{}
		if len(l.inFlight) > 0 {
			settled = l.inFlight[0].done
		}
		if settled == nil && l.ended && l.filling == nil {
			return
		}
		select {
		case b := <-l.wanted():
			l.take(b)
		case <-l.linger.C:
			if l.filling != nil {
				l.filling.due = true
			}
		case <-l.lastPlaced():
		case <-settled:
			l.settle()
		}
	}
}

// wanted is where the next block comes from, nil if none is wanted now.
func (l *lineStream) wanted() chan block {
	if l.ended || len(l.held) > 0 {
		return nil
	}
	return l.blocks
}

// lastPlaced is closed when the chunk that was launched last has its place; nil
// unless there is another that waits for it.
func (l *lineStream) lastPlaced() chan struct{} {
	n := len(l.inFlight)
	if l.filling == nil || !l.ready(l.filling) || n == 0 || !l.room() {
		return nil
	}
	return l.inFlight[n-1].placed
}

// take accepts a block from the reading goroutine.
func (l *lineStream) take(b block) {
	l.held, l.spare = b.bytes, b.bytes[:cap(b.bytes)]
	if b.err == nil {
		return
	}
	l.read = true
	if b.err != io.EOF {
		l.end(b.err)
		return
	}
	l.ended = true
}

// end ends the stream for a reason other than the end of the body. Chunks that
// are on their way are still waited for.
func (l *lineStream) end(err error) {
	first := l.lines
	if l.filling != nil {
		first = l.filling.first
	}
	l.blame(err, first)
	l.ended = true
	l.held = nil
	l.release(l.filling)
	l.filling = nil
}

// blame keeps what the client gets to see of several errors: one that may have
// taken effect nevertheless, else that of the earliest record.
func (l *lineStream) blame(err error, first int64) {
	p := toProblem(err, l.s.cfg.RetryAfter)
	switch {
	case l.problem == nil:
	case l.problem.kind == kindUnknown:
		return
	case p.kind != kindUnknown && l.failedFirst <= first:
		return
	}
	l.problem, l.failedFirst = p, first
}

func (l *lineStream) release(c *lineChunk) {
	if c != nil && c.budget != nil {
		c.budget.Release()
		c.budget = nil
	}
}

// fill moves lines from the last block into the chunk that is being filled,
// until that is full or the budget is exhausted.
func (l *lineStream) fill() {
	for len(l.held) > 0 && (l.filling == nil || !l.filling.full) {
		line, _, whole := bytes.Cut(l.held, []byte{'\n'})
		if err := l.add(line, whole); err != nil {
			if l.wait(err) {
				return
			}
			l.end(err)
			return
		}
		l.held = l.held[len(line):]
		if whole {
			l.held = l.held[1:]
		}
	}
	if len(l.held) > 0 {
		return
	}
	if l.spare != nil && !l.read {
		l.free <- l.spare // there is always room: it came from there
		l.spare = nil
	}
	if c := l.filling; l.ended && l.problem == nil && c != nil && !c.full {
		if c.begin < len(c.text) { // the last line has no \n
			l.complete(c)
		}
		c.due = true
	}
}

// wait tells whether an overloaded node is a reason to wait: as long as this
// stream itself holds what will be given back.
func (l *lineStream) wait(err error) bool {
	if toProblem(err, 0).kind != kindOverloaded {
		return false
	}
	if c := l.filling; l.streams && c != nil && len(c.ends) > 0 && c.begin == len(c.text) {
		c.full = true // what is there can go now
		return true
	}
	return len(l.inFlight) > 0
}

// add appends a line, or a part of one.
func (l *lineStream) add(line []byte, whole bool) error {
	c := l.filling
	if c == nil {
		budget, err := l.s.producer.Reserve(0)
		if err != nil {
			return err
		}
		c = &lineChunk{first: l.lines, budget: budget, placed: make(chan struct{}), done: make(chan struct{})}
		l.filling = c
		if l.streams {
			l.linger.Reset(l.s.cfg.ChunkLinger)
		}
	}
	if size, limit := len(c.text)-c.begin+len(line), int(l.topic.Config.MaxMessageBytes); size > limit {
		return recordTooLarge(size, limit).with("line", l.lines+1)
	}
	if err := c.grow(len(line), l.s.cfg.ChunkBytesMax); err != nil {
		return err
	}
	if whole && len(c.ends) == cap(c.ends) {
		if err := c.budget.Grow(growRecords * lineOverhead); err != nil {
			return err
		}
		c.ends = slices.Grow(c.ends, growRecords)
	}
	c.text = append(c.text, line...)
	if whole {
		l.complete(c)
	}
	return nil
}

// complete ends the line that is not complete.
func (l *lineStream) complete(c *lineChunk) {
	c.ends = append(c.ends, len(c.text))
	c.begin = len(c.text)
	l.lines++
	if len(c.ends) >= l.s.cfg.ChunkRecordsMax || len(c.text) >= l.s.cfg.ChunkBytesMax || c.due && l.turn() {
		c.full = true
	}
}

// grow makes room for n bytes of text within the budget.
func (c *lineChunk) grow(n, chunkBytesMax int) error {
	need := len(c.text) + n
	if need <= cap(c.text) {
		return nil
	}
	// A full chunk is common, one that is longer than that is not.
	size := max(need, min(max(2*cap(c.text), blockLen), chunkBytesMax))
	if err := c.budget.Grow(int64(size - cap(c.text))); err != nil {
		return err
	}
	c.text = append(make([]byte, 0, size), c.text...)
	return nil
}

// ready tells whether a chunk has waited for enough lines.
func (l *lineStream) ready(c *lineChunk) bool {
	return len(c.ends) > 0 && c.begin == len(c.text) && (c.full || c.due)
}

// launch commits the chunk that was filled, if it is its turn.
func (l *lineStream) launch() bool {
	c := l.filling
	if c == nil || l.problem != nil {
		return false
	}
	if len(c.ends) == 0 && l.ended {
		l.release(c)
		l.filling = nil
		return false
	}
	if !l.ready(c) || !l.turn() {
		return false
	}
	l.filling = nil
	l.linger.Stop()
	l.inFlight = append(l.inFlight, c)
	go l.commit(c, l.topic)
	return true
}

// room tells whether another chunk may be on its way: none beside the first.
func (l *lineStream) room() bool {
	return l.answered && len(l.inFlight) < l.s.cfg.ChunksInFlightMax
}

// turn tells whether the next chunk may be launched: once there is room, and
// the one before has its place.
func (l *lineStream) turn() bool {
	n := len(l.inFlight)
	if n == 0 {
		return true
	}
	if !l.room() {
		return false
	}
	select {
	case <-l.inFlight[n-1].placed:
		return true
	default:
		return false
	}
}

// commit runs on the chunk's own goroutine.
func (l *lineStream) commit(c *lineChunk, topic *catalog.Topic) {
	defer close(c.done)
	defer func() {
		// net/http guards only the handler's own goroutine.
		if cause := recover(); cause != nil {
			c.err = fmt.Errorf("commit of a chunk panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	records, err := l.records(c, int(topic.Config.MaxMessageBytes))
	if err != nil {
		c.err = err
		return
	}
	opts := l.opts
	placed := sync.OnceFunc(func() { close(c.placed) })
	opts.Placed = placed
	if opts.Expected != catalog.AnyOffset {
		opts.Expected += catalog.Offset(c.first)
	}
	if opts.Producer.ID >= 0 {
		// Sequences wrap around to 0, as in Kafka.
		opts.Producer.BaseSequence = int32((int64(opts.Producer.BaseSequence) + c.first) & 0x7fffffff)
	}
	ctx, cancel := l.working()
	defer cancel()
	c.err = l.s.withTopic(ctx, topic, func(t *catalog.Topic) error {
		var err error
		c.results, err = l.s.producer.ProduceRecords(ctx, t, records, opts)
		return err
	})
	if c.err == nil {
		placed() // nothing has a clearer place than what is in
	}
}

// records makes records of a chunk's lines.
func (l *lineStream) records(c *lineChunk, recordBytesMax int) ([]ingest.Record, error) {
	records := make([]ingest.Record, len(c.ends))
	now := time.Now().UnixMilli()
	var keys *keyFinder
	if l.hasKey {
		keys = newKeyFinder(l.keyField)
	}
	begin := 0
	for i, end := range c.ends {
		r := &records[i]
		r.Partition = l.partition
		r.Timestamp = now
		r.Value = c.text[begin:end:end]
		begin = end
		if keys != nil {
			key, wrong := keys.key(r.Value)
			if wrong != "" {
				line := c.first + int64(i) + 1
				return nil, kindInvalidRecord.newf("line %d %s", line, wrong).with("line", line)
			}
			r.Key = key
		}
		if size := recordSize(&r.Record); size > recordBytesMax {
			return nil, recordTooLarge(size, recordBytesMax).with("line", c.first+int64(i)+1)
		}
	}
	return records, nil
}

// settle takes the first chunk on its way, which is done, and says what became of it.
func (l *lineStream) settle() {
	c := l.inFlight[0]
	l.inFlight = l.inFlight[1:]
	l.release(c)
	if c.err != nil {
		l.blame(c.err, c.first)
		l.end(c.err)
		return
	}
	l.in += int64(len(c.ends))
	line := strconv.AppendInt([]byte(`{"first_record":`), c.first, 10)
	line = append(line, `,"count":`...)
	line = strconv.AppendInt(line, int64(len(c.ends)), 10)
	line = append(line, `,"results":`...)
	line = l.appendResults(line, c.results)
	l.writeLine(append(line, "}\n"...))
}

// writeLine sends a line of the answer, the status first.
func (l *lineStream) writeLine(line []byte) {
	if l.gone {
		return
	}
	if !l.answered {
		l.answered = true
		l.w.asItIs() // each line goes out when it is written
		h := l.w.Header()
		h.Set("Content-Type", mediaNDJSON)
		h.Set("Cache-Control", "no-store")
		if !l.ended {
			// Whether all of the body will be read is not known yet.
			h.Set("Connection", "close")
		}
		l.w.WriteHeader(l.status())
	}
	_, err := l.w.Write(line)
	if err == nil {
		err = l.conn.Flush()
	}
	if err != nil {
		l.gone = true
		l.end(clientGone(err))
	}
}

// finish ends the answer.
func (l *lineStream) finish() error {
	switch {
	case l.problem == nil && l.lines == 0:
		return ingest.ErrNoRecords
	case l.problem == nil:
		line := strconv.AppendInt([]byte(`{"done":true,"records":`), l.in, 10)
		l.writeLine(append(line, "}\n"...))
		return nil
	case !l.answered, l.gone:
		return l.problem
	}
	p := l.problem
	p.noSideEffects = false // of the body's chunks, some are in
	p.with("records", l.in)
	p.with("first_record", l.failedFirst)
	l.report(p)
	l.writeLine(append(p.appendJSON(nil), '\n'))
	return nil
}
