package reader

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits    prometheus.Counter
	misses  prometheus.Counter
	aheads  prometheus.Counter
	retries prometheus.Counter
	corrupt prometheus.Counter
	replans prometheus.Counter
	bytes   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		hits:    f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_cache_hits_total", Help: "Blocks found in the cache."}),
		misses:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_cache_misses_total", Help: "Blocks not found in the cache; loads of the same block share a request."}),
		aheads:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_read_ahead_total", Help: "Blocks loaded before a sequential reader asked for them."}),
		retries: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_load_retries_total", Help: "Loads repeated because the store failed or returned wrong bytes."}),
		corrupt: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_corrupt_total", Help: "Reads whose bytes were not what was written; none was served."}),
		replans: f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_replans_total", Help: "Fetches planned again because an object was gone."}),
		bytes:   f.NewCounter(prometheus.CounterOpts{Name: "wadi_reader_fetched_bytes_total", Help: "Bytes of record batches handed to callers."}),
	}
}
