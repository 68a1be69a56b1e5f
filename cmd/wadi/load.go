package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/dustin/go-humanize"

	"github.com/wadilog/wadi/client"
)

// latencyMax is the longest latency that a load tells apart from longer ones.
const latencyMax = time.Hour

// loadSettings say how hard and for how long something is done.
type loadSettings struct {
	workers  int
	rate     float64       // operations per second of all workers, 0 for as many as they can
	duration time.Duration // after which none is begun; 0 for until the workers are done
}

// loadStep is what one operation moved.
type loadStep struct {
	records int64
	bytes   int64
}

// loadFailuresMax is how many operations of one worker may fail in a row when
// no duration ends the load.
const loadFailuresMax = 20

// loadPause is the least pause after a failure.
const loadPause = 20 * time.Millisecond

// errLoadDone is what an operation returns that has nothing left to do.
var errLoadDone = errors.New("nothing left to do")

// loadResult is what a load came to.
type loadResult struct {
	Seconds          float64          `json:"seconds"`
	Requests         int64            `json:"requests"` // that succeeded
	Records          int64            `json:"records"`
	Bytes            int64            `json:"bytes"`
	RequestsPerSec   float64          `json:"requests_per_second"`
	RecordsPerSec    float64          `json:"records_per_second"`
	BytesPerSec      float64          `json:"bytes_per_second"`
	Latency          latencySummary   `json:"latency_us"`
	Histogram        []latencyBucket  `json:"latency_histogram_us"`
	Errors           map[string]int64 `json:"errors"`
	Missed           int64            `json:"missed"` // operations of the target rate that were never begun
	ClientCPUSeconds float64          `json:"client_cpu_seconds"`

	firstError error
	gaveUp     error // why a load that has no end in time ended early
}

// latencySummary is in µs. With a target rate it counts from the time at which
// an operation was due, not at which it could begin, so that a stall weighs as
// much as it does for those who wait (no coordinated omission).
type latencySummary struct {
	Mean float64 `json:"mean"`
	P50  int64   `json:"p50"`
	P90  int64   `json:"p90"`
	P99  int64   `json:"p99"`
	P999 int64   `json:"p99_9"`
	Max  int64   `json:"max"`
}

// load is a load under way.
type load struct {
	settings loadSettings
	began    time.Time
	next     atomic.Int64 // number of the next operation of a target rate
	bytes    atomic.Int64 // so far

	mu         sync.Mutex // guards all below
	latency    *hdrhistogram.Histogram
	result     loadResult
	firstError error
}

func newLoad(settings loadSettings) *load {
	return &load{settings: settings, latency: newLatency(), result: loadResult{Errors: map[string]int64{}}}
}

func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax.Microseconds(), 3)
}

// run runs workers, each with an operation of its own, until the time is over,
// they are done, or ctx ends; what was begun is finished.
func (l *load) run(ctx context.Context, worker func(n int) func(context.Context) (loadStep, error)) loadResult {
	cpu := processCPU()
	l.began = time.Now()
	var workers sync.WaitGroup
	for n := range l.settings.workers {
		workers.Go(func() { l.work(ctx, worker(n)) })
	}
	workers.Wait()
	r := l.result
	r.Seconds = time.Since(l.began).Seconds()
	r.ClientCPUSeconds = (processCPU() - cpu).Seconds()
	per := 1 / max(r.Seconds, 1e-9)
	r.RequestsPerSec, r.RecordsPerSec, r.BytesPerSec = float64(r.Requests)*per, float64(r.Records)*per, float64(r.Bytes)*per
	r.Latency = latencySummary{
		Mean: l.latency.Mean(), P50: l.latency.ValueAtQuantile(50), P90: l.latency.ValueAtQuantile(90),
		P99: l.latency.ValueAtQuantile(99), P999: l.latency.ValueAtQuantile(99.9), Max: l.latency.Max(),
	}
	r.Histogram = buckets(l.latency)
	if due := l.due(); due > 0 {
		failed := int64(0)
		for _, n := range r.Errors {
			failed += n
		}
		r.Missed = max(0, due-r.Requests-failed)
	}
	r.firstError = l.firstError
	return r
}

// due is how many operations a target rate asks for.
func (l *load) due() int64 {
	return int64(l.settings.rate * min(l.settings.duration, time.Since(l.began)).Seconds())
}

// turn waits until the next operation is due and returns when that was, or
// false if there is none.
func (l *load) turn(ctx context.Context) (time.Time, bool) {
	at := time.Now()
	if l.settings.rate > 0 {
		n := l.next.Add(1) - 1
		at = l.began.Add(time.Duration(float64(n) / l.settings.rate * float64(time.Second)))
	}
	if end := l.began.Add(l.settings.duration); l.settings.duration > 0 && (!at.Before(end) || !time.Now().Before(end)) {
		return at, false
	}
	if wait := time.Until(at); wait > 0 && !sleep(ctx, wait) {
		return at, false
	}
	return at, ctx.Err() == nil
}

func (l *load) work(ctx context.Context, operate func(context.Context) (loadStep, error)) {
	latency := newLatency()
	var requests, records, size, failures int64
	for {
		at, ok := l.turn(ctx)
		if !ok {
			break
		}
		step, err := operate(ctx)
		if errors.Is(err, errLoadDone) || err != nil && ctx.Err() != nil {
			break
		}
		if err != nil {
			l.failed(err)
			if failures++; l.settings.duration == 0 && failures == loadFailuresMax {
				l.giveUp(err)
				break
			}
			// A node that asks for a pause gets it; the target rate goes on.
			if !sleep(ctx, min(max(retryAfterOf(err), loadPause), l.left())) {
				break
			}
			continue
		}
		failures = 0
		_ = latency.RecordValue(min(time.Since(at), latencyMax).Microseconds())
		requests, records, size = requests+1, records+step.records, size+step.bytes
		l.bytes.Add(step.bytes)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latency.Merge(latency)
	l.result.Requests += requests
	l.result.Records += records
	l.result.Bytes += size
}

// left is the time until nothing is begun any more.
func (l *load) left() time.Duration {
	if l.settings.duration == 0 {
		return latencyMax
	}
	return max(0, l.settings.duration-time.Since(l.began))
}

func (l *load) failed(err error) {
	kind := "other"
	var answer *client.Error
	var connection *client.ConnectionError
	switch {
	case errors.As(err, &answer):
		kind = strings.TrimSpace(fmt.Sprintf("%d %s", answer.Status, string(answer.Code)))
	case errors.As(err, &connection):
		kind = "connection"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Errors[kind]++
	if l.firstError == nil {
		l.firstError = err
	}
}

func retryAfterOf(err error) time.Duration {
	var answer *client.Error
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

func (l *load) giveUp(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.gaveUp = err
}

// processCPU is the CPU time that this process has used.
func processCPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// print writes the result for people.
func (r loadResult) print(w io.Writer) error {
	us := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "  %s in %.2fs: %s/s", humanize.Bytes(uint64(r.Bytes)), r.Seconds, humanize.Bytes(uint64(r.BytesPerSec)))
	if r.Records > 0 {
		_, _ = fmt.Fprintf(&text, ", %s records/s", humanize.Comma(int64(r.RecordsPerSec)))
	}
	_, _ = fmt.Fprintf(&text, ", %s requests/s\n", humanize.CommafWithDigits(r.RequestsPerSec, 1))
	_, _ = fmt.Fprintf(&text, "  latency p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n",
		us(r.Latency.P50), us(r.Latency.P90), us(r.Latency.P99), us(r.Latency.P999), us(r.Latency.Max))
	if len(r.Errors) > 0 {
		var kinds []string
		for kind, n := range r.Errors {
			kinds = append(kinds, fmt.Sprintf("%s × %d", kind, n))
		}
		slices.Sort(kinds)
		_, _ = fmt.Fprintf(&text, "  errors: %s\n", strings.Join(kinds, ", "))
	}
	if r.Missed > 0 {
		_, _ = fmt.Fprintf(&text, "  behind the target rate by %s requests\n", humanize.Comma(r.Missed))
	}
	_, _ = fmt.Fprintf(&text, "  client CPU %.2fs\n", r.ClientCPUSeconds)
	_, err := io.WriteString(w, text.String())
	return err
}
