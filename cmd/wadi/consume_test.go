package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// put appends batches of records to a partition of the fake node.
func (n *fakeNode) put(t *testing.T, topic string, partition int, codec recordbatch.Codec, batches ...[]recordbatch.Record) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.topics[topic].partitions[partition]
	for _, records := range batches {
		batch, err := recordbatch.Append(nil, records, codec, recordbatch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		recordbatch.PatchBaseOffset(batch, recordbatch.Offset(p.end))
		p.batches = append(p.batches, batch)
		p.end += int64(len(records))
	}
}

// numbered makes count records whose values count up from first, a second apart.
func numbered(first, count int) []recordbatch.Record {
	records := make([]recordbatch.Record, count)
	for i := range records {
		n := first + i
		records[i] = recordbatch.Record{Timestamp: int64(n) * 1000, Key: []byte("k" + strconv.Itoa(n)), Value: []byte("v" + strconv.Itoa(n))}
	}
	return records
}

func TestConsumeRanges(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 2)
	node.put(t, "t", 0, recordbatch.LZ4, numbered(0, 10), numbered(10, 10), numbered(20, 10))
	node.put(t, "t", 1, recordbatch.None, numbered(100, 5))
	s := &session{t: t, node: node}
	s.must("topics", "trim", "t", "-p", "0", "--before", "5")
	offsets := func(from, to int) string {
		var want strings.Builder
		for n := from; n < to; n++ {
			_, _ = fmt.Fprintf(&want, "%d\n", n)
		}
		return want.String()
	}
	for _, c := range []struct{ args, want string }{
		{"-p 0", offsets(5, 30)},
		{"-p 1", offsets(0, 5)},
		{"-p 0 --from 12", offsets(12, 30)},
		{"-p 0 --from 12 --to 15", offsets(12, 15)},
		{"-p 0 --from 12 --to 1000", offsets(12, 30)},
		{"-p 0 --from 12 --to 12", ""},
		{"-p 0 --from 12 --to 7", ""},
		{"-p 0 --from latest", ""},
		{"-p 0 --from 30", ""},
		{"-p 0 --from earliest --to end", offsets(5, 30)},
		{"-p 0 -n 3", offsets(5, 8)},
		{"-p 0 -n 0", ""},
		{"-p 0 --from 1970-01-01T00:00:13Z --to 1970-01-01T00:00:19.5Z", offsets(13, 20)},
		{"-p 0 --from 1970-01-02", ""},
		{"-p 0 --from 1970-01-01T00:00:00Z --to -1h", offsets(5, 30)},
	} {
		args := append([]string{"consume", "t", "--format", "%o"}, strings.Fields(c.args)...)
		for _, fetchBytes := range []string{"1", "4MiB"} {
			if got := s.must(append(args, "--fetch-bytes", fetchBytes)...); got != c.want {
				t.Errorf("%s: %q, want %q", c.args, got, c.want)
			}
		}
	}
	for args, want := range map[string]string{
		"-p 0 --from 2":          "partition 0 at offset 2: trimmed or expired: refused by the test (410",
		"-p 0 --from 31":         "partition 0 ends at offset 30, before 31",
		"-p 2":                   "partitions 0 to 1, not 2",
		"-p 0 --from 31 -f":      "partition 0 ends at offset 30, before 31",
		"-p 0 --from 2 --to 4":   "(410 offset_below_start); read 0 records",
		"-p 0 --from 2 --format": "flag needs an argument",
	} {
		got := s.run(append([]string{"consume", "t"}, strings.Fields(args)...)...)
		if got.status == exitOK || !strings.Contains(got.err, want) {
			t.Errorf("%s: status %d: %s", args, got.status, got.err)
		}
	}
}

func TestConsumeAllPartitions(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 20)
	want := []string{}
	for p := range 20 {
		for b := range 5 {
			node.put(t, "t", p, recordbatch.Zstd, numbered(b*7, 7))
		}
		for n := range 35 {
			want = append(want, fmt.Sprintf("%d:%d", p, n))
		}
	}
	s := &session{t: t, node: node}
	got := strings.Fields(s.must("consume", "t", "--format", "%p:%o"))
	next := map[string]int{}
	for _, line := range got {
		p, o, _ := strings.Cut(line, ":")
		if o != strconv.Itoa(next[p]) {
			t.Fatalf("partition %s: offset %s after %d", p, o, next[p]-1)
		}
		next[p]++
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for _, n := range []int{1, 36, 699, 700, 1000} {
		if got := strings.Count(s.must("consume", "t", "-n", strconv.Itoa(n)), "\n"); got != min(n, 700) {
			t.Errorf("-n %d printed %d records", n, got)
		}
	}
}

func TestConsumeFormats(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	node.put(t, "t", 0, recordbatch.None, []recordbatch.Record{
		{Timestamp: 1700000000123, Key: []byte("k"), Value: []byte("ä\"\n"), Headers: []recordbatch.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "c", Value: []byte{0xff}}}},
		{Timestamp: 5, Key: nil, Value: nil},
		{Timestamp: 6, Key: []byte{}, Value: []byte{0xff, 0}},
	})
	s := &session{t: t, node: node}
	for format, want := range map[string]string{
		"value": "ä\"\n\n\n\xff\x00\n",
		"json": `{"partition":0,"offset":0,"timestamp":1700000000123,"key":"k","value":"ä\"\n","headers":[["a","1"],["b",null],["c",{"base64":"/w=="}]]}` + "\n" +
			`{"partition":0,"offset":1,"timestamp":5,"key":null,"value":null,"headers":[]}` + "\n" +
			`{"partition":0,"offset":2,"timestamp":6,"key":"","value_base64":"/wA=","headers":[]}` + "\n",
		"%o %t %k %v":        "0 1700000000123 k ä\"\n\n1 5  \n2 6  \xff\x00\n",
		`%p\t%o%%\n`:         "0\t0%\n0\t1%\n0\t2%\n",
		`%h|\\`:              "a=1,b=,c=\xff|\\\n|\\\n|\\\n",
		`{"offset": %o}\n\n`: "{\"offset\": 0}\n\n{\"offset\": 1}\n\n{\"offset\": 2}\n\n",
	} {
		if got := s.must("consume", "t", "--format", format); got != want {
			t.Errorf("%s:\n%q, want\n%q", format, got, want)
		}
	}
	for _, format := range []string{"", "values", "%", `%o\`, "%z", `%o\x`} {
		if got := s.run("consume", "t", "--format="+format); got.status != exitUsage {
			t.Errorf("%q: status %d %q", format, got.status, got.err)
		}
	}
}

// TestConsumeSurvivesFaults checks that a fetch that fails in any way is
// repeated, and that nothing is printed twice or left out.
func TestConsumeSurvivesFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(rapid.SampledFrom([]fakeFault{faultNone, faultReset, faultBusy, faultHalfAnswer}), 0, 40).Draw(rt, "faults")
		refused := rapid.SliceOfN(rapid.Bool(), 0, 8).Draw(rt, "refused")
		inBubble(t, rt, func(t *testing.T, rt fataler) {
			node := newFakeNode(t)
			node.topic("t", 3)
			for p := range 3 {
				for b := range 10 {
					node.put(t, "t", p, recordbatch.None, numbered(b*3, 3))
				}
			}
			node.fetchFault = func(n int) fakeFault {
				if n <= len(plan) {
					return plan[n-1]
				}
				return faultNone
			}
			node.refuse = func(n int) bool { return n > 4 && n-5 < len(refused) && refused[n-5] }
			s := &session{t: t, node: node}
			got := s.run("consume", "t", "--format", "%p %v", "--fetch-bytes", "1", "--retry-timeout", "1h")
			if got.status != exitOK {
				rt.Fatalf("status %d: %s", got.status, got.err)
			}
			next := map[string]int{}
			for line := range strings.Lines(got.out) {
				p, v, _ := strings.Cut(strings.TrimSpace(line), " ")
				if v != "v"+strconv.Itoa(next[p]) {
					rt.Fatalf("partition %s: %s after %d records", p, v, next[p])
				}
				next[p]++
			}
			if next["0"] != 30 || next["1"] != 30 || next["2"] != 30 {
				rt.Fatalf("records by partition: %v", next)
			}
		})
	})
}

// safeBuffer is a bytes.Buffer that one goroutine reads while another writes.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestConsumeFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 2)
		node.put(t, "t", 0, recordbatch.None, numbered(0, 2))
		ctx, cancel := context.WithCancelCause(t.Context())
		var out safeBuffer
		env := &environment{in: strings.NewReader(""), out: &out, err: io.Discard, getenv: func(string) string { return "" }, dial: node.dial}
		status := make(chan int)
		go func() { status <- run(ctx, env, []string{"consume", "t", "--follow", "--from", "latest"}) }()
		time.Sleep(time.Minute) // of virtual time: several long polls
		for n := range 5 {
			node.put(t, "t", n%2, recordbatch.None, numbered(n*10, 1))
			time.Sleep(time.Second)
			if got, want := strings.Count(out.String(), "\n"), n+1; got != want {
				t.Errorf("%d records printed, not %d", got, want)
			}
		}
		if got := out.String(); got != "v0\nv10\nv20\nv30\nv40\n" {
			t.Errorf("printed %q", got)
		}
		if node.count(&node.fetches) > 60 {
			t.Errorf("%d requests in a minute of silence", node.count(&node.fetches))
		}
		cancel(errInterrupted)
		if got := <-status; got != exitOK {
			t.Errorf("status %d", got)
		}
	})
}

func TestConsumeFollowsToAnEnd(t *testing.T) {
	for _, args := range []string{"-n 25", "-p 0 --to 25"} {
		synctest.Test(t, func(t *testing.T) {
			node := newFakeNode(t)
			node.topic("t", 1)
			node.put(t, "t", 0, recordbatch.None, numbered(0, 20))
			go func() {
				time.Sleep(time.Minute)
				node.put(t, "t", 0, recordbatch.None, numbered(20, 10))
			}()
			s := &session{t: t, node: node}
			if got := s.must(append([]string{"consume", "t", "-f"}, strings.Fields(args)...)...); strings.Count(got, "\n") != 25 {
				t.Errorf("%s: %q", args, got)
			}
		})
	}
}

// TestConsumeRefusesWrongRecords shows that damage and gaps are never printed
// as if nothing were wrong.
func TestConsumeRefusesWrongRecords(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *fakePartition)
		want  string
	}{
		"a bit": {func(p *fakePartition) { p.batches[1][len(p.batches[1])-1] ^= 1 }, "at offset 10: record batch at byte 0: CRC32C does not match"},
		"gap": {func(p *fakePartition) {
			for _, batch := range p.batches[1:] {
				header, _ := recordbatch.ParseHeader(batch)
				recordbatch.PatchBaseOffset(batch, header.BaseOffset+1)
			}
			p.end++
		}, "offset 11 where 10 should be; read 10 records"},
		"repeat": {func(p *fakePartition) {
			for _, batch := range p.batches[1:] {
				header, _ := recordbatch.ParseHeader(batch)
				recordbatch.PatchBaseOffset(batch, header.BaseOffset-1)
			}
		}, "offset 9 where 10 should be; read 10 records"},
		"cut": {func(p *fakePartition) { p.batches[1] = p.batches[1][:len(p.batches[1])-1] }, "read 10 records"},
	} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode(t)
			node.topic("t", 1)
			node.put(t, "t", 0, recordbatch.None, numbered(0, 10), numbered(10, 10), numbered(20, 10))
			c.spoil(node.topics["t"].partitions[0])
			s := &session{t: t, node: node}
			got := s.run("consume", "t")
			if got.status != exitFailure || !strings.Contains(got.err, c.want) {
				t.Errorf("status %d: %s", got.status, got.err)
			}
		})
	}
}

// TestCheckSumsAgree compares the checksum of what was produced with that of
// what is read, and with that of a topic with two lines of one key swapped.
func TestCheckSumsAgree(t *testing.T) {
	node := newFakeNode(t)
	node.topic("a", 5)
	node.topic("b", 5)
	lines := keyedLines(500)
	s := &session{t: t, node: node, in: string(join(lines))}
	produced := s.must("produce", "a", "--key-field", "origin", "--check", "-q", "--batch", "1KiB")
	consumed := s.must("consume", "a", "--check", "--fetch-bytes", "1")
	if produced != consumed || !strings.Contains(produced, "all: 500 records sha256 ") {
		t.Errorf("produced\n%sconsumed\n%s", produced, consumed)
	}
	lines[0], lines[13] = lines[13], lines[0]
	s.in = string(join(lines))
	if other := s.must("produce", "b", "--key-field", "origin", "--check", "-q"); other == produced {
		t.Errorf("swapped lines of one key have the same checksum")
	}
}

func TestPositions(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]position{
		"earliest":                  {kind: positionEarliest},
		"latest":                    {kind: positionEnd},
		"end":                       {kind: positionEnd},
		"0":                         {kind: positionOffset},
		"123":                       {kind: positionOffset, offset: 123},
		"-90m":                      {kind: positionTime, ms: now.Add(-90 * time.Minute).UnixMilli()},
		"2026-01-31":                {kind: positionTime, ms: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC).UnixMilli()},
		"2026-01-31T12:00:00+02:00": {kind: positionTime, ms: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC).UnixMilli()},
		"2026-01-31 12:00":          {kind: positionTime, ms: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).UnixMilli()},
	} {
		if got, err := parsePosition(text, now); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "90m", "tomorrow", "9223372036854775808", "2026-13-01"} {
		if got, err := parsePosition(text, now); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
