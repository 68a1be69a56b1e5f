package wal

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	frames      prometheus.Counter
	bytes       prometheus.Counter
	syncs       prometheus.Counter
	syncSeconds prometheus.Histogram
	failures    prometheus.Counter
	tornTails   prometheus.Counter
	damaged     prometheus.Counter
	unknown     prometheus.Counter
}

func newMetrics(l *Log, registerer prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wadi_wal_" + name, Help: help})
	}
	m := &metrics{
		frames: counter("frames_total", "Frames made durable."),
		bytes:  counter("written_bytes_total", "Bytes of frames made durable, headers included."),
		syncs:  counter("syncs_total", "Group commits, one fsync each."),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wadi_wal_commit_seconds",
			Help:    "Time of one group commit: write and fsync.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		}),
		failures:  counter("failures_total", "Write or fsync errors, after which the buffer takes nothing."),
		tornTails: counter("torn_tails_total", "Files of earlier lives that were cut behind their last frame, at an unfinished write or unused room."),
		damaged:   counter("damaged_files_total", "Files of earlier lives that were found damaged or missing."),
		unknown:   counter("unknown_files_total", "Files set aside because the catalog does not know their node id."),
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wadi_wal_bytes",
		Help: "Bytes of files with frames that are to be committed, those of earlier lives included.",
	}, func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(l.bytes)
	})
	files := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wadi_wal_files",
		Help: "Files of the running node id.",
	}, func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(len(l.files))
	})
	for _, c := range []prometheus.Collector{m.frames, m.bytes, m.syncs, m.syncSeconds, m.failures, m.tornTails, m.damaged, m.unknown, held, files} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the write-ahead buffer: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) committed(frames int, bytes int64, took time.Duration) {
	m.frames.Add(float64(frames))
	m.bytes.Add(float64(bytes))
	m.syncs.Inc()
	m.syncSeconds.Observe(took.Seconds())
}
