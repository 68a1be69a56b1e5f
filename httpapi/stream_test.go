package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// tail is the reader's end of a stream, in virtual time.
type tail struct {
	t      *testing.T
	conn   net.Conn
	header http.Header
	in     *bufio.Reader
	begun  time.Time
}

// tail begins a stream, and takes what comes at once. headers are lines.
func (a *pipeAPI) tail(query string, headers ...string) *tail {
	a.t.Helper()
	conn := a.dial()
	return a.tailOn(conn, pumpOf(conn), query, headers...)
}

// slowTail begins a stream of which nothing is taken but what is asked for.
func (a *pipeAPI) slowTail(query string, headers ...string) *tail {
	a.t.Helper()
	conn := a.dial()
	return a.tailOn(conn, conn, query, headers...)
}

// pump is what a connection has received, as the buffers of a real one hold it.
type pump struct {
	parts chan []byte
	rest  []byte
	err   error // set before parts is closed
}

func pumpOf(conn net.Conn) *pump {
	p := &pump{parts: make(chan []byte, 10_000)}
	go func() {
		defer close(p.parts)
		for p.err == nil {
			part := make([]byte, 1<<10)
			var n int
			n, p.err = conn.Read(part)
			p.parts <- part[:n]
		}
	}()
	return p
}

func (p *pump) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		var more bool
		if p.rest, more = <-p.parts; !more {
			return 0, p.err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (a *pipeAPI) tailOn(conn net.Conn, received io.Reader, query string, headers ...string) *tail {
	a.t.Helper()
	lines := append([]string{"GET " + partitionRecords + query + " HTTP/1.1", "Host: h"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		a.t.Fatal(err)
	}
	in := bufio.NewReaderSize(received, 16) // reads hardly further than it is asked to
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if res.StatusCode != 200 {
		text, _ := io.ReadAll(res.Body)
		a.t.Fatalf("status %d: %s", res.StatusCode, text)
	}
	return &tail{t: a.t, conn: conn, header: res.Header, in: bufio.NewReader(res.Body), begun: time.Now()}
}

// want checks that text comes next, and when, since the stream began.
func (l *tail) want(after time.Duration, text string) {
	l.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(l.in, got)
	if err != nil || string(got) != text {
		l.t.Fatalf("got %q, %v\nwant %q", got[:n], err, text)
	}
	if elapsed := time.Since(l.begun); elapsed != after {
		l.t.Fatalf("%q came after %s, want %s", got, elapsed, after)
	}
}

// wantEnd checks that nothing more comes: a good end, or a broken one.
func (l *tail) wantEnd(good bool) {
	l.t.Helper()
	rest, err := io.ReadAll(l.in)
	if len(rest) > 0 || (err == nil) != good {
		l.t.Errorf("the stream ends with %q, %v", rest, err)
	}
	_ = l.conn.Close()
}

func (a *pipeAPI) produce(values ...string) {
	a.t.Helper()
	var records []string
	for _, v := range values {
		records = append(records, fmt.Sprintf(`{"value":%q,"timestamp":1}`, v))
	}
	body := `{"records":[` + strings.Join(records, ",") + `]}`
	res, text, _ := a.ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		partitionRecords, typeJSON, len(body), body))
	if res.StatusCode != 200 {
		a.t.Fatalf("%d %s", res.StatusCode, text)
	}
}

func (a *pipeAPI) mustAsk(method, path string, status int) {
	a.t.Helper()
	if res, text, _ := a.ask(method + " " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); res.StatusCode != status {
		a.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
}

func recordJSON(offset int, value string) string {
	return fmt.Sprintf(`{"offset":%d,"timestamp":1,"key":null,"value":%q,"headers":[]}`, offset, value)
}

func eventText(next, high, start int, records ...string) string {
	return fmt.Sprintf("event: batch\nid: %d\ndata: {\"records\":[%s],\"next_offset\":%d,\"high_watermark\":%d,\"log_start_offset\":%d}\n\n",
		next, strings.Join(records, ","), next, high, start)
}

func pingText(next, high, start int) string {
	return fmt.Sprintf("event: ping\nid: %d\ndata: {\"next_offset\":%d,\"high_watermark\":%d,\"log_start_offset\":%d}\n\n", next, next, high, start)
}

const acceptEvents = "Accept: " + typeEvents

func TestEvents(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a", "b")
		l := a.tail("?offset=1", acceptEvents)
		for name, want := range map[string]string{
			"Content-Type": typeEvents, "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept",
			"Wadi-Next-Offset": "1", "Wadi-High-Watermark": "2", "Wadi-Log-Start-Offset": "0", "Content-Length": "",
		} {
			if got := l.header.Get(name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		l.want(0, eventText(2, 2, 0, recordJSON(1, "b")))
		l.want(10*time.Second, pingText(2, 2, 0))
		time.Sleep(3 * time.Second)
		a.produce("c", "d")
		l.want(13*time.Second, eventText(4, 4, 0, recordJSON(2, "c"), recordJSON(3, "d")))
		l.want(23*time.Second, pingText(4, 4, 0))
		l.want(33*time.Second, pingText(4, 4, 0))
		_ = l.conn.Close()

		// Back again, from where it was and not from where the URL says.
		l = a.tail("?offset=latest", acceptEvents, "Last-Event-ID: 3")
		l.want(0, eventText(4, 4, 0, recordJSON(3, "d")))
		_ = l.conn.Close()
		l = a.tail("", acceptEvents, "Last-Event-ID: 4")
		l.want(0, pingText(4, 4, 0))
		_ = l.conn.Close()
		// Whoever loses the connection before the first record has a place to come back to.
		l = a.tail("?offset=latest", acceptEvents)
		l.want(0, pingText(4, 4, 0))
		_ = l.conn.Close()
	})
}

func TestLines(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a", "b")
		for _, accept := range []string{"Accept: */*", "Accept: " + typeNDJSON, "X: no Accept"} {
			l := a.tail("?offset=0&follow=true", accept)
			if media := l.header.Get("Content-Type"); media != typeNDJSON {
				t.Errorf("%s: %s", accept, media)
			}
			l.want(0, recordJSON(0, "a")+"\n"+recordJSON(1, "b")+"\n")
			l.want(10*time.Second, "\n")
			_ = l.conn.Close()
		}
		l := a.tail("?offset=2&follow=true")
		time.Sleep(time.Second)
		a.produce("c")
		l.want(time.Second, recordJSON(2, "c")+"\n")
		_ = l.conn.Close()
		// An empty line would be a record here.
		l = a.tail("?offset=2&follow=true&values_only=true", "Accept: "+typeNDJSON)
		l.want(0, "c\n")
		time.Sleep(time.Minute)
		a.produce("d", "", "e")
		l.want(time.Minute, "d\n\ne\n")
		_ = l.conn.Close()
	})
}

func TestStreamEndsAfterMaxRecords(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a", "b")
		l := a.tail("?offset=0&follow=true&max_records=3")
		l.want(0, recordJSON(0, "a")+"\n"+recordJSON(1, "b")+"\n")
		a.produce("c", "d")
		l.want(0, recordJSON(2, "c")+"\n")
		l.wantEnd(true)
		l = a.tail("?offset=earliest&max_records=1", acceptEvents)
		l.want(0, eventText(1, 4, 0, recordJSON(0, "a")))
		l.wantEnd(true)
	})
}

// endings are what ends a stream in the middle, with the problem that its reader
// gets after everything that was sent before.
var endings = map[string]struct {
	do      func(a *pipeAPI)
	problem string
	retry   string
}{
	"trim": {func(a *pipeAPI) {
		// One edit, so that the reader cannot take the records before they go.
		a.node.mu.Lock()
		defer a.node.mu.Unlock()
		topic, _ := a.node.state.TopicByName("t")
		tp := catalog.TopicPartition{Topic: topic.ID}
		batch, err := recordbatch.Append(nil, []recordbatch.Record{{Value: []byte("x")}, {Value: []byte("y")}}, recordbatch.None, recordbatch.NoProducer)
		if err != nil {
			a.t.Fatal(err)
		}
		if _, err := a.node.commit(topic, map[int32][][]byte{0: {batch}}, ingest.Options{Acks: ingest.AcksAll, Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}); err != nil {
			a.t.Fatal(err)
		}
		a.node.apply(catalog.Trim{Partition: tp, Before: 3})
	}, `{"type":"/problems/offset-below-start","title":"The records at this offset are gone","status":410,"detail":"offset 2 is outside of [3, 4]","code":"offset_below_start","retryable":false,"no_side_effects":true,"offset":2,"log_start_offset":3,"high_watermark":4,"next_offset":2}`, ""},
	"deletion": {func(a *pipeAPI) { a.mustAsk("DELETE", "/v1/topics/t", 204) },
		`{"type":"/problems/topic-not-found","title":"There is no such topic","status":404,"detail":"the topic does not exist","code":"topic_not_found","retryable":false,"no_side_effects":true,"next_offset":2}`, ""},
	"drain": {func(a *pipeAPI) { close(a.node.ending) },
		`{"type":"/problems/not-ready","title":"The node is not ready","status":503,"detail":"draining","code":"not_ready","retryable":true,"no_side_effects":true,"next_offset":2}`, "retry: 1000\n"},
}

func TestStreamEndings(t *testing.T) {
	for name, c := range endings {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(a *pipeAPI) {
				a.createTopic()
				a.produce("a", "b")
				events := a.tail("?offset=0", acceptEvents)
				lines := a.tail("?offset=0&follow=true")
				values := a.tail("?offset=0&follow=true&values_only=true")
				events.want(0, eventText(2, 2, 0, recordJSON(0, "a"), recordJSON(1, "b")))
				lines.want(0, recordJSON(0, "a")+"\n"+recordJSON(1, "b")+"\n")
				values.want(0, "a\nb\n")
				time.Sleep(time.Second)
				synctest.Wait()
				c.do(a)
				events.want(time.Second, "event: error\n"+c.retry+"data: "+c.problem+"\n\n")
				events.wantEnd(true)
				lines.want(time.Second, c.problem+"\n")
				lines.wantEnd(true)
				values.wantEnd(false) // one more line would be one more value
			})
		})
	}
}

// A topic of the same name is another topic.
func TestStreamDoesNotGoOnInAnotherTopic(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a", "b")
		l := a.tail("?offset=0&follow=true")
		l.want(0, recordJSON(0, "a")+"\n"+recordJSON(1, "b")+"\n")
		a.node.mu.Lock() // both before the stream gets to look
		topic, _ := a.node.state.TopicByName("t")
		catalog.Apply(a.node.state, catalog.DeleteTopic{ID: topic.ID})
		a.node.mu.Unlock()
		a.createTopic()
		a.produce("c", "d", "e")
		l.want(0, endings["deletion"].problem+"\n")
		l.wantEnd(true)
	})
}

// What is the matter at the beginning is a status, as for any other fetch.
func TestStreamThatCannotBegin(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.StreamsMax = 1 })
	a.topic("1")
	a.want(200, a.do("POST", partitionRecords, "x"))
	a.want(200, a.do("POST", partitionRecords, "y"))
	a.want(200, a.do("DELETE", partitionRecords+"?before=1", ""))
	for _, headers := range [][]string{{"Accept", typeEvents}, {"Accept", typeNDJSON}} {
		a.wantProblem(410, "offset_below_start", a.do("GET", partitionRecords+"?offset=0&follow=true", "", headers...))
		a.wantProblem(416, "offset_above_end", a.do("GET", partitionRecords+"?offset=3&follow=true", "", headers...))
		a.wantProblem(404, "topic_not_found", a.do("GET", "/v1/topics/none/partitions/0/records?offset=0&follow=true", "", headers...))
	}
	head := a.want(200, a.do("HEAD", partitionRecords+"?offset=1&follow=true", ""))
	if head.header.Get("Wadi-Next-Offset") != "1" || head.header.Get("Content-Type") != typeNDJSON {
		t.Errorf("HEAD: %v", head.header)
	}

	res, err := a.client.Get(a.url + partitionRecords + "?offset=1&follow=true")
	if err != nil {
		t.Fatal(err)
	}
	got := a.do("GET", partitionRecords+"?offset=1&follow=true", "")
	p := a.wantProblem(503, "overloaded", got)
	if p["reason"] != "streams" || p["limit"] != float64(1) || got.header.Get("Retry-After") != "1" {
		t.Errorf("%s, Retry-After %s", got.body, got.header.Get("Retry-After"))
	}
	a.want(200, a.do("GET", partitionRecords+"?offset=1", "")) // other fetches go on
	_ = res.Body.Close()
	for a.server.streams.inside.Load() > 0 { // the place is free again
		time.Sleep(time.Millisecond)
	}
	close(a.node.ending)
	a.wantProblem(503, "not_ready", a.do("GET", partitionRecords+"?offset=1&follow=true", ""))
	if n := a.server.streams.inside.Load(); n != 0 {
		t.Errorf("%d streams are still counted", n)
	}
}

// A reader that takes nothing is given up, and holds nothing meanwhile that
// others wait for.
func TestSlowReaderIsGivenUp(t *testing.T) {
	inBubble(t, func(c *Config) { c.StreamedBytesMax = 100 << 10 }, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a")
		slow := a.slowTail("?offset=0&follow=true")
		slow.want(0, recordJSON(0, "a")+"\n")
		quick := a.tail("?offset=1&follow=true")
		begun := time.Now()
		for i := range 3 {
			value := strings.Repeat("x", 30<<10)
			a.produce(value)
			quick.want(time.Since(quick.begun), recordJSON(i+1, value)+"\n")
		}
		synctest.Wait()
		if held := a.server.streams.inside.Load(); held != 2 {
			t.Errorf("%d streams", held)
		}
		if !a.server.streaming.TryAcquire(100 << 10) {
			t.Error("a slow reader holds memory that others wait for")
		} else {
			a.server.streaming.Release(100 << 10)
		}
		for a.server.streams.inside.Load() == 2 {
			time.Sleep(time.Second)
		}
		if elapsed := time.Since(begun); elapsed < 8*time.Second || elapsed > 11*time.Second {
			t.Errorf("given up after %s", elapsed)
		}
		if n := testutil.ToFloat64(a.server.metrics.slowReaders); n != 1 {
			t.Errorf("%v slow readers are counted", n)
		}
		_ = slow.conn.Close()
		_ = quick.conn.Close()
	})
}

// A batch larger than a stream may hold is sent in parts, each an event that can
// be come back to, and its memory is given back.
func TestLargeBatchIsSentInParts(t *testing.T) {
	for _, codec := range []string{"none", "gzip"} {
		t.Run(codec, func(t *testing.T) {
			a := newTestAPI(t, nil)
			a.topic("1")
			var records []recordbatch.Record
			for i := range 1000 {
				records = append(records, recordbatch.Record{Timestamp: 1, Value: []byte(strings.Repeat("x", 1000) + fmt.Sprint(i))})
			}
			c := recordbatch.None
			if codec == "gzip" {
				c = recordbatch.Gzip
			}
			batch, err := recordbatch.Append(nil, records, c, recordbatch.NoProducer)
			if err != nil {
				t.Fatal(err)
			}
			a.want(200, a.do("POST", partitionRecords, string(batch), "Content-Type", typeBatch))
			got := a.want(200, a.do("GET", partitionRecords+"?offset=7&max_records=990", "", "Accept", typeEvents))
			next, events := 7, 0
			for _, event := range strings.SplitAfter(string(got.body), "\n\n") {
				if event == "" {
					continue
				}
				events++
				id, data, _ := strings.Cut(strings.TrimPrefix(event, "event: batch\nid: "), "\ndata: ")
				var batch struct {
					Records []struct {
						Offset int
						Value  string
					}
					NextOffset int `json:"next_offset"`
				}
				if err := json.Unmarshal([]byte(data), &batch); err != nil {
					t.Fatal(err)
				}
				for _, r := range batch.Records {
					if r.Offset != next || r.Value != strings.Repeat("x", 1000)+fmt.Sprint(next) {
						t.Fatalf("record %+v where offset %d should be", r, next)
					}
					next++
				}
				if id != fmt.Sprint(next) || batch.NextOffset != next {
					t.Fatalf("id %s and next_offset %d after record %d", id, batch.NextOffset, next-1)
				}
				if most := a.server.cfg.StreamBufferBytes + 2000; len(event) > most {
					t.Errorf("an event of %d bytes, over %d", len(event), most)
				}
			}
			if next != 997 || events < 30 {
				t.Errorf("%d events up to offset %d", events, next)
			}
			if !a.server.streaming.TryAcquire(a.server.cfg.StreamedBytesMax) || !a.server.decoding.TryAcquire(a.server.cfg.DecodingBytesMax) {
				t.Error("memory was not given back")
			}
		})
	}
}

// A stream outlives what passes, and pings meanwhile; what lasts ends it.
func TestStreamRidesOutWhatPasses(t *testing.T) {
	away := fmt.Errorf("%w: store away", catalog.ErrNotConfirmed)
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.produce("a")
		l := a.tail("?offset=0", acceptEvents)
		l.want(0, eventText(1, 1, 0, recordJSON(0, "a")))
		synctest.Wait()
		a.node.mu.Lock()
		a.node.failFetch = func(int) error { return away }
		a.node.mu.Unlock()
		a.produce("b") // ends the wait that is under way
		l.want(0, eventText(2, 2, 0, recordJSON(1, "b")))
		l.want(6*time.Second, pingText(2, 2, 0))
		l.want(12*time.Second, pingText(2, 2, 0))
		a.node.mu.Lock()
		a.node.failFetch = nil
		a.node.mu.Unlock()
		l.want(13*time.Second, pingText(2, 2, 0))
		a.produce("c")
		l.want(13*time.Second, eventText(3, 3, 0, recordJSON(2, "c")))
		// A fetch that hangs does not keep pings back.
		synctest.Wait()
		a.node.mu.Lock()
		a.node.hang = func(ctx context.Context) { <-ctx.Done() }
		a.node.mu.Unlock()
		a.produce("d")
		l.want(13*time.Second, eventText(4, 4, 0, recordJSON(3, "d")))
		l.want(27*time.Second, pingText(4, 4, 0))
		var text string
		for last := time.Now(); !strings.Contains(text, "event: error"); last = time.Now() {
			line, err := l.in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			text += line
			if silent := time.Since(last); silent > a.server.cfg.StreamPing {
				t.Fatalf("nothing came for %s", silent)
			}
		}
		if elapsed := time.Since(l.begun); elapsed < 57*time.Second || elapsed > 75*time.Second {
			t.Errorf("given up after %s", elapsed)
		}
		rest, err := io.ReadAll(l.in)
		if err != nil || !strings.Contains(string(rest), `"code":"timeout"`) || !strings.Contains(string(rest), `"next_offset":4`) {
			t.Errorf("%s, %v", rest, err)
		}
		a.node.mu.Lock()
		a.node.hang = nil
		a.node.mu.Unlock()
	})
}

// Streams are no requests that took long, and leave nothing behind.
func TestStreamThatItsReaderLeaves(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		l := a.tail("?offset=0", acceptEvents)
		l.want(0, pingText(0, 0, 0))
		_ = l.conn.Close()
		synctest.Wait()
		if n := a.server.streams.inside.Load() + a.server.open.inside.Load(); n != 0 {
			t.Errorf("%d are still counted", n)
		}
		if n := testutil.CollectAndCount(a.server.metrics.problems); n != 0 {
			t.Errorf("%d problems are counted", n)
		}
	})
}

var errBroken = errors.New("broken")

// What does not pass is told at once.
func TestStreamTellsWhatLasts(t *testing.T) {
	inBubble(t, nil, func(a *pipeAPI) {
		a.createTopic()
		a.node.failFetch = func(n int) error {
			if n > 1 {
				return errBroken
			}
			return nil
		}
		l := a.tail("?offset=0", acceptEvents)
		l.want(0, pingText(0, 0, 0))
		l.want(0, `event: error`+"\n"+`data: {"type":"/problems/internal","title":"The node failed","status":500,"detail":"the node failed; its log says more under the request id","code":"internal","retryable":false,"no_side_effects":false,"next_offset":0}`+"\n\n")
		l.wantEnd(true)
	})
}
