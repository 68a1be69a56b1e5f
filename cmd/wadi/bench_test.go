package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/wadilog/wadi/internal/recordbatch"
)

func TestBenchProduceThenFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{t: t, node: newFakeNode(t)}
		s.node.fault = func(n int) fakeFault {
			if n == 5 {
				return faultBusy
			}
			return faultNone
		}
		s.node.delay = time.Millisecond // else virtual time stands still
		var report struct {
			Bench    string
			Settings map[string]any
			Requests int64
			Records  int64
			Bytes    int64
			Errors   map[string]int64
			Latency  latencySummary `json:"latency_us"`
		}
		out := s.must("bench", "produce", "--partitions", "3", "--size", "100", "--batch", "1KB", "--connections", "2", "--duration", "200ms", "--json")
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		stored := int64(0)
		for _, values := range s.node.values(defaultBenchTopic) {
			stored += int64(len(values))
		}
		if report.Bench != "produce" || report.Records != stored || report.Records != report.Requests*10 || report.Bytes != report.Records*100 ||
			report.Errors["503 overloaded"] != 1 || report.Settings["records_per_request"] != 10.0 || report.Latency.P50 < 1000 || stored < 1000 {
			t.Errorf("%d records are stored: %s", stored, out)
		}
		fetched := s.must("bench", "fetch", "--once", "--json")
		if err := json.Unmarshal([]byte(fetched), &report); err != nil || report.Records != stored {
			t.Errorf("%v: %d records are stored: %s", err, stored, fetched)
		}
		if text := s.must("bench", "fetch", "--once"); !strings.HasPrefix(text, "fetch from bench: 3 partitions, 4 connections, recordbatch answers\n") {
			t.Errorf("%q", text)
		}
	})
}

func TestBenchFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{t: t, node: newFakeNode(t)}
		if got := s.run("bench", "fetch"); got.status != exitFailure || !strings.Contains(got.err, "404") {
			t.Errorf("no topic: status %d %q", got.status, got.err)
		}
		s.node.topic("t", 1)
		if got := s.run("bench", "fetch", "t"); got.status != exitFailure || !strings.Contains(got.err, "is empty") {
			t.Errorf("empty: status %d %q", got.status, got.err)
		}
		s.node.fault = func(int) fakeFault { return faultFenced }
		if got := s.run("bench", "produce", "t", "--duration", "1s"); got.status != exitFailure || !strings.Contains(got.err, "no request succeeded: refused by the test (403") {
			t.Errorf("refused: status %d %q", got.status, got.err)
		}
		s.node.put(t, "t", 0, recordbatch.None, numbered(0, 1))
		s.node.fetchFault = func(int) fakeFault { return faultReset }
		if got := s.run("bench", "fetch", "t", "--once"); got.status != exitFailure || !strings.Contains(got.err, "failed 20 times in a row") {
			t.Errorf("cut off: status %d %q", got.status, got.err)
		}
		for _, args := range []string{"produce --connections 0", "produce --rate -1", "fetch --duration 0s", "produce --size 0", "fetch --fetch-bytes 1GiB", "fetch --format raw", "produce a/b"} {
			if got := s.run(append([]string{"bench"}, strings.Fields(args)...)...); got.status != exitUsage {
				t.Errorf("%s: status %d %q", args, got.status, got.err)
			}
		}
	})
}

// TestLoadCountsFromWhenItWasDue holds a load up for a second: at a target
// rate a tenth of all operations were due in that time, and have waited.
func TestLoadCountsFromWhenItWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := newLoad(loadSettings{workers: 1, rate: 100, duration: 10 * time.Second})
		r := l.run(t.Context(), func(int) func(context.Context) (loadStep, error) {
			return func(context.Context) (loadStep, error) {
				if calls++; calls == 100 {
					time.Sleep(time.Second)
				}
				return loadStep{records: 1}, nil
			}
		})
		if r.Requests != 1000 || r.Missed != 0 {
			t.Errorf("%d operations, %d missed", r.Requests, r.Missed)
		}
		if r.Latency.P90 > 100_000 || r.Latency.P99 < 850_000 || r.Latency.Max < 990_000 {
			t.Errorf("latency %+v", r.Latency)
		}
	})
}

func TestLoadThatCannotKeepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoad(loadSettings{workers: 2, rate: 100, duration: 10 * time.Second})
		r := l.run(t.Context(), func(int) func(context.Context) (loadStep, error) {
			return func(context.Context) (loadStep, error) {
				time.Sleep(100 * time.Millisecond)
				return loadStep{}, nil
			}
		})
		if r.Requests != 200 || r.Missed != 800 || r.Latency.Max < 7_900_000 {
			t.Errorf("%d operations, %d missed, latency %+v", r.Requests, r.Missed, r.Latency)
		}
	})
}

func TestLoadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		r := newLoad(loadSettings{workers: 1, rate: 1, duration: time.Hour}).run(ctx, func(int) func(context.Context) (loadStep, error) {
			return func(context.Context) (loadStep, error) { return loadStep{}, nil }
		})
		if r.Requests != 2 || r.Seconds > 1.6 {
			t.Errorf("%+v", r)
		}
	})
}

func TestBodies(t *testing.T) {
	for _, format := range []string{formatRecordBatch, formatNDJSON, formatJSON, formatRaw} {
		for _, kind := range []string{"random", "log"} {
			text := format == formatJSON || format == formatNDJSON
			m := bodyMaker{payloads{rand.New(rand.NewPCG(1, 1)), 300, kind, text}, format, 20, recordbatch.Zstd}
			if format == formatRaw {
				m.records = 1
			}
			bodies, err := m.bodies()
			if err != nil || len(bodies) < 2 {
				t.Fatalf("%s %s: %d bodies, %v", format, kind, len(bodies), err)
			}
			b := bodies[1]
			if b.logical != int64(300*m.records) {
				t.Errorf("%s %s: %d bytes of values", format, kind, b.logical)
			}
			switch format {
			case formatRecordBatch:
				if h, err := recordbatch.ParseHeader(b.bytes); err != nil || int(h.RecordCount) != 20 {
					t.Errorf("%v, %d records", err, h.RecordCount)
				}
			case formatNDJSON:
				if strings.Count(string(b.bytes), "\n") != 20 || !utf8.Valid(b.bytes) {
					t.Errorf("%q", b.bytes)
				}
			case formatJSON:
				var got struct{ Records []struct{ Key, Value string } }
				if err := json.Unmarshal(b.bytes, &got); err != nil || len(got.Records) != 20 || len(got.Records[19].Value) != 300 {
					t.Errorf("%v, %d records", err, len(got.Records))
				}
			case formatRaw:
				if len(b.bytes) != 300 {
					t.Errorf("%d bytes", len(b.bytes))
				}
			}
		}
	}
	for size := range 400 {
		if line := (&payloads{rand.New(rand.NewPCG(1, 1)), size, "log", true}).next(); len(line) != size {
			t.Errorf("a line of %d bytes has %d", size, len(line))
		}
	}
}
