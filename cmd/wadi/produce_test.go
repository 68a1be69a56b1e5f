package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// keyedLines makes n lines of JSON with keys of a few origins, numbered.
func keyedLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"n":%d,"origin":"K%d","text":%q}`, i, i*i%13, strings.Repeat("x", i%50))
	}
	return lines
}

func join(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// values are the values in a topic's partitions, in order.
func (n *fakeNode) values(topic string) [][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all [][]string
	for _, p := range n.topics[topic].partitions {
		var values []string
		for _, r := range p.records() {
			values = append(values, string(r.Value))
		}
		all = append(all, values)
	}
	return all
}

// checkOnce fails unless the topic holds each line exactly once, those of each
// key in order, all of one key in one partition.
func checkOnce(t fataler, n *fakeNode, topic string, lines []string) {
	t.Helper()
	keyOf := func(line string) string {
		_, rest, _ := strings.Cut(line, `"origin":"`)
		key, _, _ := strings.Cut(rest, `"`)
		return key
	}
	want := map[string][]string{}
	for _, line := range lines {
		want[keyOf(line)] = append(want[keyOf(line)], line)
	}
	got, home := map[string][]string{}, map[string]int{}
	for p, values := range n.values(topic) {
		for _, value := range values {
			key := keyOf(value)
			if at, known := home[key]; known && at != p {
				t.Fatalf("key %s is in partitions %d and %d", key, at, p)
			}
			home[key] = p
			got[key] = append(got[key], value)
		}
	}
	if !maps.EqualFunc(want, got, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
		for key := range want {
			if len(want[key]) != len(got[key]) {
				t.Fatalf("key %s: %d lines in the log, not %d", key, len(got[key]), len(want[key]))
			}
		}
		t.Fatalf("lines of a key are out of order")
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// bubbleFailure is a failure on its way out of a bubble.
type bubbleFailure string

// Helper is part of fataler.
func (bubbleFailure) Helper() {}

// Fatalf ends the bubble's function.
func (bubbleFailure) Fatalf(format string, args ...any) {
	panic(bubbleFailure(fmt.Sprintf(format, args...)))
}

// inBubble runs check with virtual time; what it finds fails rt, which has to
// happen outside for rapid to make the example smaller.
func inBubble(t *testing.T, rt *rapid.T, check func(t *testing.T, rt fataler)) {
	var failure any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failure = recover() }()
		check(t, bubbleFailure(""))
	})
	if failure != nil {
		rt.Fatalf("%v", failure)
	}
}

// TestProduceExactlyOnceUnderFaults is the producer's part of promises 2 and 4:
// whatever happens to requests and answers, each line is in the log once, and
// lines of a key are in order.
func TestProduceExactlyOnceUnderFaults(t *testing.T) {
	faults := []fakeFault{faultNone, faultReset, faultLostAnswer, faultHalfAnswer, faultBusy, faultTimeout,
		faultLateTimeout, faultInternal, faultBadGateway, faultHang}
	lines := keyedLines(400)
	path := writeFile(t, "lines", join(lines))
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(rapid.SampledFrom(faults), 0, 60).Draw(rt, "faults")
		refused := rapid.SliceOfN(rapid.Bool(), 0, 10).Draw(rt, "refused")
		partitions := rapid.IntRange(1, 6).Draw(rt, "partitions")
		connections := rapid.IntRange(1, 8).Draw(rt, "connections")
		inBubble(t, rt, func(t *testing.T, rt fataler) {
			node := newFakeNode(t)
			node.topic("flights", partitions)
			node.fault = func(n int) fakeFault {
				if n <= len(plan) {
					return plan[n-1]
				}
				return faultNone
			}
			// The first connections are for the topic and the producer id.
			node.refuse = func(n int) bool { return n > 2 && n-3 < len(refused) && refused[n-3] }
			s := &session{t: t, node: node}
			got := s.run("produce", "flights", "--key-field", "origin", "--batch", "1KiB", "--connections", strconv.Itoa(connections),
				"--retry-timeout", "1h", path)
			if got.status != exitOK {
				rt.Fatalf("status %d: %s", got.status, got.err)
			}
			checkOnce(rt, node, "flights", lines)
			if node.count(&node.overlaps) > 0 && !strings.Contains(fmt.Sprint(plan), fmt.Sprint(faultHang)) {
				rt.Fatalf("%d requests to a partition that had one under way", node.count(&node.overlaps))
			}
			if !strings.HasPrefix(got.err, "400 records, ") || strings.Count(got.err, "\n") != 1 || got.out != "" {
				rt.Fatalf("standard output %q, standard error %q", got.out, got.err)
			}
		})
	})
}

func TestProduceRecognisesCompressedInput(t *testing.T) {
	lines := keyedLines(3000)
	var zipped, zstandard bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = zw.Write(join(lines[:1500]))
	_ = zw.Close()
	zw.Reset(&zipped) // a second member, as gzip a b > c makes
	_, _ = zw.Write(join(lines[1500:]))
	_ = zw.Close()
	zs, err := zstd.NewWriter(&zstandard)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = zs.Write(join(lines))
	_ = zs.Close()
	for name, body := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": zstandard.Bytes(), "plain": join(lines),
		"no end of the last line": bytes.TrimSuffix(join(lines), []byte("\n"))} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode(t)
			node.topic("file", 3)
			node.topic("stdin", 3)
			s := &session{t: t, node: node, in: string(body)}
			s.must("produce", "file", "--key-field", "origin", "-q", writeFile(t, "lines", body))
			checkOnce(t, node, "file", lines)
			s.must("produce", "stdin", "--key-field", "origin", "-q")
			checkOnce(t, node, "stdin", lines)
		})
	}
	t.Run("cut gzip", func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 1)
		s := &session{t: t, node: node}
		got := s.run("produce", "t", "--key-field", "origin", writeFile(t, "lines", zipped.Bytes()[:zipped.Len()/3]))
		if got.status != exitFailure || !strings.Contains(got.err, "unexpected EOF; acknowledged: ") {
			t.Errorf("status %d: %s", got.status, got.err)
		}
	})
}

func TestProduceLinesAsTheyAre(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	in := "first\r\n\n" + strings.Repeat("long", 100_000) + "\n\x00\xff\nlast"
	s := &session{t: t, node: node, in: in}
	s.must("produce", "t", "-q", "--batch", "1KiB")
	if got := strings.Join(node.values("t")[0], "\n"); got != in {
		t.Errorf("%d bytes in the log, not %d", len(got), len(in))
	}
	if got := s.must("consume", "t"); got != in+"\n" {
		t.Errorf("consume printed %d bytes, not %d", len(got), len(in)+1)
	}
}

func TestProduceWithoutKeysUsesAllPartitionsByBatch(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 4)
	s := &session{t: t, node: node, in: string(join(keyedLines(1000)))}
	s.must("produce", "t", "-q", "--batch", "1KiB")
	for p, values := range node.values("t") {
		if len(values) < 200 || len(values) > 300 {
			t.Errorf("partition %d has %d of 1000 records", p, len(values))
		}
	}
}

func TestProduceToOnePartition(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 4)
	s := &session{t: t, node: node, in: string(join(keyedLines(100)))}
	s.must("produce", "t", "-q", "-p", "2", "--key-field", "origin")
	if n := len(node.values("t")[2]); n != 100 {
		t.Errorf("partition 2 has %d records", n)
	}
	if got := s.run("produce", "t", "-p", "4"); got.status != exitFailure || !strings.Contains(got.err, "partitions 0 to 3") {
		t.Errorf("status %d: %s", got.status, got.err)
	}
}

func TestProduceSkipsLines(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	s := &session{t: t, node: node, in: "a\nb\nc\n"}
	s.must("produce", "t", "-q", "--skip", "2")
	if got := fmt.Sprint(node.values("t")); got != "[[c]]" {
		t.Error(got)
	}
}

func TestProduceCreatesTopic(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t), in: "a\n"}
	s.must("produce", "t", "-q", "--create", "3")
	if got := len(s.node.values("t")); got != 3 {
		t.Errorf("%d partitions", got)
	}
}

func TestProduceLetsNodeCreateTopic(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t), in: "a\n"}
	if got := s.run("produce", "t"); got.status != exitFailure || !strings.Contains(got.err, "create it with wadi topics create t") {
		t.Errorf("status %d: %s", got.status, got.err)
	}
	s.node.autoCreate = true
	s.must("produce", "t", "-q")
	if got := fmt.Sprint(s.node.values("t")); got != "[[a] []]" && got != "[[] [a]]" {
		t.Error(got)
	}
}

func TestProduceCutsBatchesByCount(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t), in: strings.Repeat("\n", batchRecordsMax+1)}
	s.node.topic("t", 1)
	s.must("produce", "t", "-q", "--batch", "8MiB")
	if got := len(s.node.values("t")[0]); got != batchRecordsMax+1 || s.node.count(&s.node.produced) != 2 {
		t.Errorf("%d records in %d requests", got, s.node.count(&s.node.produced))
	}
}

// TestProduceAcksOneNeverRepeatsTheUnknown breaks if a request without a
// producer id is sent again although the first may have been stored.
func TestProduceAcksOneNeverRepeatsTheUnknown(t *testing.T) {
	for fault, safe := range map[fakeFault]bool{
		faultBusy: true, faultReset: false, faultLostAnswer: false, faultHalfAnswer: false, faultTimeout: false,
		faultLateTimeout: false, faultInternal: false, faultBadGateway: false, faultHang: false,
	} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := newFakeNode(t)
				node.topic("t", 1)
				node.fault = func(n int) fakeFault {
					if n == 2 {
						return fault
					}
					return faultNone
				}
				lines := keyedLines(60)
				s := &session{t: t, node: node, in: string(join(lines))}
				got := s.run("produce", "t", "--acks", "1", "--batch", "1KiB", "--key-field", "origin")
				if safe {
					if got.status != exitOK {
						t.Fatalf("status %d: %s", got.status, got.err)
					}
					checkOnce(t, node, "t", lines)
					return
				}
				if got.status != exitFailure || node.count(&node.produced) != 2 {
					t.Fatalf("status %d after %d requests: %s", got.status, node.count(&node.produced), got.err)
				}
				var acked, unknown, first int
				_, tail, _ := strings.Cut(got.err, "acknowledged: ")
				if _, err := fmt.Sscanf(tail, "%d records", &acked); err != nil {
					t.Fatalf("%v in %q", err, got.err)
				}
				_, tail, _ = strings.Cut(tail, "unknown: ")
				if _, err := fmt.Sscanf(tail, "%d records", &unknown); err != nil {
					t.Fatalf("%v in %q", err, got.err)
				}
				_, tail, _ = strings.Cut(tail, "all of the first ")
				if _, err := fmt.Sscanf(tail, "%d lines are in", &first); err != nil {
					t.Fatalf("%v in %q", err, got.err)
				}
				if stored := len(node.values("t")[0]); acked != first || stored != acked && stored != acked+unknown || unknown == 0 {
					t.Errorf("%d records are in the log: %s", stored, got.err)
				}
			})
		})
	}
}

func TestProduceAcksOneRepeatsRefusedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 1)
		node.refuse = func(n int) bool { return n < 4 }
		s := &session{t: t, node: node, in: "a\n"}
		s.must("produce", "t", "-q", "--acks", "1")
	})
}

// TestProduceGivesUp checks that a node that stays away ends the command with
// an exact account, and not before --retry-timeout.
func TestProduceGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 2)
		var gone time.Time
		node.fault = func(n int) fakeFault {
			if n <= 3 {
				return faultNone
			}
			if gone.IsZero() {
				gone = time.Now()
			}
			return faultBusy
		}
		s := &session{t: t, node: node, in: string(join(keyedLines(500)))}
		got := s.run("produce", "t", "--batch", "1KiB", "--key-field", "origin", "--retry-timeout", "90s")
		if got.status != exitFailure || !strings.Contains(got.err, "no progress for 1m30s: refused by the test (503 overloaded)") {
			t.Errorf("status %d: %s", got.status, got.err)
		}
		if took := time.Since(gone); took < 90*time.Second || took > 100*time.Second {
			t.Errorf("gave up after %s", took)
		}
		want := fmt.Sprintf("acknowledged: %d records", len(node.values("t")[0])+len(node.values("t")[1]))
		if !strings.Contains(got.err, want) || strings.Contains(got.err, "unknown") {
			t.Errorf("%q lacks %q", got.err, want)
		}
	})
}

func TestProduceStopsAtRefusal(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	node.fault = func(n int) fakeFault {
		if n == 2 {
			return faultFenced
		}
		return faultNone
	}
	s := &session{t: t, node: node, in: string(join(keyedLines(500)))}
	got := s.run("produce", "t", "--batch", "1KiB")
	if got.status != exitFailure || node.count(&node.produced) != 2 || !strings.Contains(got.err, "403 producer_fenced") {
		t.Errorf("status %d after %d requests: %s", got.status, node.count(&node.produced), got.err)
	}
}

func TestProduceRefusesLinesWithoutJSON(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	s := &session{t: t, node: node, in: "{\"k\":1}\n{\"k\":2}\nnonsense\n{\"k\":4}\n"}
	got := s.run("produce", "t", "--key-field", "k")
	if got.status != exitFailure || !strings.Contains(got.err, "line 3 is not a JSON object") ||
		!strings.Contains(got.err, "acknowledged: 2 records") || !strings.Contains(got.err, "all of the first 2 lines are in") {
		t.Errorf("status %d: %s", got.status, got.err)
	}
}

// TestProduceInterrupted checks that a signal ends the command soon with an
// account of what is in, also while it waits for standard input.
func TestProduceInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		reader, writer := io.Pipe()
		defer func() { _ = writer.Close() }()
		go func() {
			_, _ = writer.Write(join(keyedLines(300)))
			synctest.Wait()
			cancel(errInterrupted)
		}()
		var errOut bytes.Buffer
		env := &environment{in: reader, out: io.Discard, err: &errOut, getenv: func(string) string { return "" }, dial: node.dial}
		if status := run(ctx, env, []string{"produce", "t", "--batch", "1KiB"}); status != exitFailure {
			t.Errorf("status %d", status)
		}
		want := fmt.Sprintf("interrupted; acknowledged: %d records", len(node.values("t")[0]))
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("%q lacks %q", errOut.String(), want)
		}
	})
}

// TestProduceLingers checks that a line of a pipe which says nothing more is sent soon,
// and that the command ends when that fails.
func TestProduceLingers(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "[[a b]]"},
		{[]string{"--linger", "10s"}, "[[]]"},
		{[]string{"--linger", "0"}, "[[]]"},
		{[]string{"--ack-log", filepath.Join(t.TempDir(), "acks")}, "[[]]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			node := newFakeNode(t)
			node.topic("t", 1)
			reader, writer := io.Pipe()
			go func() {
				_, _ = writer.Write([]byte("a\nb\n"))
				time.Sleep(time.Second)
				synctest.Wait()
				if got := fmt.Sprint(node.values("t")); got != c.want {
					t.Errorf("%v: after a second there is %s", c.flags, got)
				}
				_ = writer.Close()
			}()
			env := &environment{in: reader, out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, dial: node.dial}
			if status := run(t.Context(), env, append([]string{"produce", "t"}, c.flags...)); status != 0 {
				t.Errorf("status %d", status)
			}
			if got := fmt.Sprint(node.values("t")); got != "[[a b]]" {
				t.Error(got)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(t)
		node.topic("t", 1)
		reader, writer := io.Pipe()
		defer func() { _ = writer.Close() }()
		go func() {
			_, _ = writer.Write([]byte("a\n"))
			time.Sleep(time.Second)
			node.mu.Lock()
			delete(node.topics, "t")
			node.mu.Unlock()
			_, _ = writer.Write([]byte("b\n"))
			time.Sleep(time.Second)
			_, _ = writer.Write([]byte("c\n")) // and no more
		}()
		var errOut bytes.Buffer
		env := &environment{in: reader, out: io.Discard, err: &errOut, getenv: func(string) string { return "" }, dial: node.dial}
		if status := run(t.Context(), env, []string{"produce", "t"}); status != exitFailure || !strings.Contains(errOut.String(), "acknowledged: 1 records") {
			t.Errorf("status %d: %s", status, errOut.String())
		}
	})
}

// TestProduceResumes kills a run at a random request, as far as the node and
// the ack log can tell, and lets another go on: each line is in once.
func TestProduceResumes(t *testing.T) {
	lines := keyedLines(400)
	path := writeFile(t, "lines", join(lines))
	rapid.Check(t, func(rt *rapid.T) {
		last := rapid.IntRange(1, 40).Draw(rt, "requests of the first run")
		stored := rapid.Bool().Draw(rt, "the last is stored")
		torn := rapid.IntRange(0, 10).Draw(rt, "bytes of a torn line")
		partitions := rapid.IntRange(1, 5).Draw(rt, "partitions")
		keyed := rapid.Bool().Draw(rt, "keyed")
		inBubble(t, rt, func(t *testing.T, rt fataler) {
			node := newFakeNode(t)
			node.topic("t", partitions)
			node.fault = func(n int) fakeFault {
				switch {
				case n < last:
					return faultNone
				case stored:
					return faultHang
				default:
					return faultReset
				}
			}
			ledger := filepath.Join(t.TempDir(), "acks")
			args := []string{"produce", "t", "--batch", "1KiB", "--buffer", "8KiB", "--ack-log", ledger, "-q", path}
			if keyed {
				args = append(args, "--key-field", "origin")
			}
			s := &session{t: t, node: node}
			got := s.run(append(args, "--retry-timeout", "1s")...)
			if got.status == exitOK {
				return // fewer requests than that
			}
			node.mu.Lock()
			node.fault = nil
			node.mu.Unlock()
			file, err := os.OpenFile(ledger, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				rt.Fatalf("%v", err)
			}
			_, err = file.WriteString("0 17 9999999999"[:torn])
			if err = errors.Join(err, file.Close()); err != nil {
				rt.Fatalf("%v", err)
			}
			if got := s.run(args...); got.status != exitFailure || !strings.Contains(got.err, "go on with --resume") {
				rt.Fatalf("a run over another's ack log: status %d: %s", got.status, got.err)
			}
			if got := s.run(append(args, "--resume")...); got.status != exitOK {
				rt.Fatalf("status %d: %s", got.status, got.err)
			}
			if keyed {
				checkOnce(rt, node, "t", lines)
			} else {
				count := map[string]int{}
				for _, values := range node.values("t") {
					for _, value := range values {
						count[value]++
					}
				}
				for _, line := range lines {
					if count[line] != 1 {
						rt.Fatalf("%q is in the log %d times", line, count[line])
					}
				}
			}
			checkLedger(rt, node, ledger, len(lines))
		})
	})
}

// checkLedger fails unless the ack log names each offset of the topic once.
func checkLedger(t fataler, node *fakeNode, path string, records int) {
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	next, total := map[int]int{}, 0
	for _, line := range strings.Split(strings.TrimSpace(string(body)), "\n")[1:] {
		var partition, base, count, first int
		if _, err := fmt.Sscan(line, &partition, &base, &count, &first); err != nil {
			t.Fatalf("ack log: %q: %v", line, err)
		}
		if base != next[partition] || first < 1 || first > records {
			t.Fatalf("ack log: %q after offset %d", line, next[partition])
		}
		next[partition] += count
		total += count
	}
	if total != records {
		t.Fatalf("ack log holds %d records, not %d", total, records)
	}
	for p, values := range node.values("t") {
		if next[p] != len(values) {
			t.Fatalf("ack log ends at offset %d of partition %d, the log at %d", next[p], p, len(values))
		}
	}
}
