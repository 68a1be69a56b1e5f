package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/localstack"
)

const (
	liveTopic      = "live"
	livePartitions = 4
	liveRate       = 40 // records per second and partition
	coldReplays    = 10
)

// liveTail measures long polls at the tail, alone and beside cold replays. Records
// come in through another node, so that the one that is asked has to load each
// segment from the store.
func (s *sitting) liveTail(ctx context.Context, dir string) error {
	return s.withNode(ctx, dir, "start.writer", func(writer *localstack.Node) (err error) {
		o := s.nodeOptions(dir, "log")
		o.LogFile = filepath.Join(dir, "reader.log")
		reader, err := localstack.StartNode(ctx, o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, reader.Stop()) }()
		if _, err := s.runLoad(ctx, writer, "produce", liveTopic, "--format", "raw", "--connections", "1", "--duration", "100ms"); err != nil {
			return err
		}
		if err := s.poll(ctx, "live.alone", writer, reader); err != nil {
			return err
		}
		replays, stop := context.WithCancel(ctx)
		defer stop()
		result := make(chan error, 1)
		go func() {
			result <- s.measure(replays, reader, "live.replays", "fetch", historyTopic,
				"--connections", strconv.Itoa(coldReplays), "--duration", (s.options.phase() + pollWarmUp).String())
		}()
		return errors.Join(s.poll(ctx, "live.beside", writer, reader), <-result)
	})
}

// pollWarmUp is for how long polls go on before they count, until the replays run and
// the node has grown to the memory that they take.
const pollWarmUp = 2 * time.Second

// poll sends records to one node at a steady rate and follows them at another by
// long polls. It notes how long after a record was acknowledged the poll answered
// with it: what the way in takes is not the reader's.
func (s *sitting) poll(ctx context.Context, name string, writer, reader *localstack.Node) error {
	s.say(name)
	ctx, cancel := context.WithTimeout(ctx, s.options.phase()+loadGrace)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * livePartitions}}
	defer client.CloseIdleConnections()
	delays := &pollDelays{histogram: hdrhistogram.New(1, time.Minute.Microseconds(), 3), acknowledged: map[string]time.Time{}, arrived: map[string]time.Time{}}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for p := range livePartitions {
		tail, err := endOffset(ctx, client, reader.URL, p)
		if err != nil {
			return err
		}
		records := int64(liveRate * (s.options.phase() + pollWarmUp).Seconds())
		group.Go(func() error {
			for n := range records {
				due := began.Add(time.Duration(n) * time.Second / liveRate)
				if err := sleepUntil(ctx, due); err != nil {
					return err
				}
				value := fmt.Sprintf("%d/%d", p, n)
				if err := send(ctx, client, writer.URL, p, value); err != nil {
					return err
				}
				if err := delays.acknowledge(value, due.Sub(began) >= pollWarmUp); err != nil {
					return err
				}
			}
			return nil
		})
		group.Go(func() error {
			for at := tail; at < tail+records; {
				values, next, err := longPoll(ctx, client, reader.URL, p, at)
				if err != nil {
					return err
				}
				for _, value := range values {
					if err := delays.arrive(value); err != nil {
						return err
					}
				}
				at = next
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.figures.add(name+".p50_seconds", float64(delays.histogram.ValueAtQuantile(50))/1e6)
	s.figures.add(name+".p99_seconds", float64(delays.histogram.ValueAtQuantile(99))/1e6)
	return nil
}

// pollDelays is how long records took from their acknowledgement to the end of the
// poll that waited for them. One that arrives before it is acknowledged took nothing.
type pollDelays struct {
	mu           sync.Mutex
	histogram    *hdrhistogram.Histogram // guarded by mu; µs
	acknowledged map[string]time.Time    // guarded by mu; of those that have not arrived; zero if they do not count
	arrived      map[string]time.Time    // guarded by mu; of those that are not acknowledged
}

func (d *pollDelays) acknowledge(value string, counts bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.arrived[value]; ok {
		delete(d.arrived, value)
		return d.record(counts, 0)
	}
	d.acknowledged[value] = time.Time{}
	if counts {
		d.acknowledged[value] = time.Now()
	}
	return nil
}

func (d *pollDelays) arrive(value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.acknowledged[value]
	if !ok {
		d.arrived[value] = time.Now()
		return nil
	}
	delete(d.acknowledged, value)
	return d.record(!at.IsZero(), time.Since(at))
}

// record wants mu held.
func (d *pollDelays) record(counts bool, delay time.Duration) error {
	if !counts {
		return nil
	}
	return d.histogram.RecordValue(delay.Microseconds())
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func partitionURL(node string, p int) string {
	return fmt.Sprintf("%s/v1/topics/%s/partitions/%d", node, liveTopic, p)
}

func endOffset(ctx context.Context, client *http.Client, node string, p int) (int64, error) {
	header, _, err := exchange(ctx, client, http.MethodGet, partitionURL(node, p)+"/records?offset=latest&values_only=true", nil)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(header.Get("Wadi-Next-Offset"), 10, 64)
}

func send(ctx context.Context, client *http.Client, node string, p int, value string) error {
	_, _, err := exchange(ctx, client, http.MethodPost, partitionURL(node, p)+"/records", []byte(value))
	return err
}

func longPoll(ctx context.Context, client *http.Client, node string, p int, offset int64) (values []string, next int64, err error) {
	header, body, err := exchange(ctx, client, http.MethodGet, fmt.Sprintf("%s/records?offset=%d&max_wait_ms=30000&values_only=true", partitionURL(node, p), offset), nil)
	if err != nil {
		return nil, 0, err
	}
	next, err = strconv.ParseInt(header.Get("Wadi-Next-Offset"), 10, 64)
	return strings.Fields(string(body)), next, err
}

func exchange(ctx context.Context, client *http.Client, method, url string, body []byte) (http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "application/x-ndjson")
	if method == http.MethodPost {
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Content-Type", "text/plain")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", method, url, response.Status, got)
	}
	return response.Header, got, err
}
