package reader

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits    prometheus.Counter
	misses  prometheus.Counter
	aheads  prometheus.Counter
	unused  prometheus.Counter
	retries prometheus.Counter
	corrupt prometheus.Counter
	replans prometheus.Counter
	bytes   *prometheus.CounterVec
	waits   *prometheus.HistogramVec
	cached  *prometheus.GaugeVec

	laneBytes  *prometheus.GaugeVec
	laneLoads  *prometheus.GaugeVec
	laneQueued *prometheus.GaugeVec
}

// laneGauges are those of one lane, and how long its loads wait.
type laneGauges struct {
	bytes, loads, queued prometheus.Gauge
	wait                 prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	lanes := []string{"lane"}
	return &metrics{
		hits:    f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_cache_hits_total", Help: "Blocks found in the cache."}),
		misses:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_cache_misses_total", Help: "Blocks not found in the cache; loads of the same block share a request."}),
		aheads:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_read_ahead_total", Help: "Blocks loaded before a sequential reader asked for them."}),
		unused:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_read_ahead_unused_total", Help: "Blocks read ahead that left the cache before anybody asked for them."}),
		retries: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_load_retries_total", Help: "Loads repeated because the store failed or returned wrong bytes."}),
		corrupt: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_corrupt_total", Help: "Reads whose bytes were not what was written; none was served."}),
		replans: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_replans_total", Help: "Fetches planned again because an object was gone."}),
		bytes:   f.NewCounterVec(prometheus.CounterOpts{Name: "wadi_reader_fetched_bytes_total", Help: "Bytes of record batches handed to callers, by the lane of the last of them."}, lanes),
		waits: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wadi_reader_load_wait_seconds", Help: "Time for which a load waited for its turn.",
			Buckets: []float64{0.0001, 0.001, 0.01, 0.1, 1, 10},
		}, lanes),
		cached: f.NewGaugeVec(prometheus.GaugeOpts{Name: "wadi_reader_cache_bytes", Help: "Bytes in the cache: the tail of the log, what replays loaded last, and what is read again."}, []string{"part"}),

		laneBytes:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "wadi_reader_lane_bytes", Help: "Bytes of loads that are under way or not used yet."}, lanes),
		laneLoads:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "wadi_reader_lane_loads", Help: "Loads under way."}, lanes),
		laneQueued: f.NewGaugeVec(prometheus.GaugeOpts{Name: "wadi_reader_lane_queued", Help: "Loads that wait for their turn."}, lanes),
	}
}

func (m *metrics) lane(k laneKind) laneGauges {
	return laneGauges{
		bytes:  m.laneBytes.WithLabelValues(k.String()),
		loads:  m.laneLoads.WithLabelValues(k.String()),
		queued: m.laneQueued.WithLabelValues(k.String()),
		wait:   m.waits.WithLabelValues(k.String()),
	}
}
