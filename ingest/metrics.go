package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	records        prometheus.Counter
	bytes          prometheus.Counter
	refused        prometheus.Counter
	withdrawn      prometheus.Counter
	replayed       prometheus.Counter
	droppedReplay  prometheus.Counter
	flushes        *prometheus.CounterVec
	segmentBytes   prometheus.Histogram
	segmentUnits   prometheus.Histogram
	commitSeconds  prometheus.Histogram
	unknownOutcome prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, g *Ingester) *metrics {
	f := promauto.With(reg)
	a := &g.admission
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "wadi_ingest_buffer_bytes", Help: "Bytes of request bodies and of records that are not committed yet."}, func() float64 { return float64(a.inUse()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "wadi_ingest_buffer_bytes_max", Help: "The node's byte budget."}, func() float64 { return float64(a.limit) })
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "wadi_ingest_buffer_ratio", Help: "Share of the node's byte budget that is in use."}, func() float64 { return float64(a.inUse()) / float64(a.limit) })
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "wadi_ingest_flush_utilisation", Help: "Share of the places for uploads that are in use."}, g.uploads.utilisation)
	f.NewCounterFunc(prometheus.CounterOpts{Name: "wadi_ingest_flush_saturated_seconds_total", Help: "Time in which all places for uploads were in use; its rate is a share of time."}, func() float64 { return g.uploads.fullFor(time.Now()).Seconds() })
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "wadi_ingest_oldest_unflushed_seconds", Help: "Age of the oldest record that the node took and that is not committed yet; 0 if there is none."}, func() float64 { return g.oldestUnflushed(time.Now()).Seconds() })
	return &metrics{
		records:        f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_records_total", Help: "Records committed."}),
		bytes:          f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_bytes_total", Help: "Bytes of record batches committed."}),
		refused:        f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_refused_total", Help: "Requests refused because the budget was used up or the node was draining."}),
		withdrawn:      f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_withdrawn_total", Help: "Requests whose time ran out before their commit began; nothing of them is in the log."}),
		replayed:       f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_wal_replayed_total", Help: "Requests of earlier lives committed from the write-ahead buffer."}),
		droppedReplay:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_wal_dropped_total", Help: "Requests answered with acks=1 whose topic was deleted before they were committed."}),
		flushes:        f.NewCounterVec(prometheus.CounterOpts{Name: "wadi_ingest_flushes_total", Help: "Segments sealed, by what sealed them."}, []string{"cause"}),
		segmentBytes:   f.NewHistogram(prometheus.HistogramOpts{Name: "wadi_ingest_segment_bytes", Help: "Size of sealed segments.", Buckets: prometheus.ExponentialBuckets(1<<10, 4, 9)}),
		segmentUnits:   f.NewHistogram(prometheus.HistogramOpts{Name: "wadi_ingest_segment_requests", Help: "Requests in a sealed segment.", Buckets: prometheus.ExponentialBuckets(1, 4, 8)}),
		commitSeconds:  f.NewHistogram(prometheus.HistogramOpts{Name: "wadi_ingest_commit_seconds", Help: "From the seal of a segment to its commit.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		unknownOutcome: f.NewCounter(prometheus.CounterOpts{Name: "wadi_ingest_unknown_outcome_total", Help: "Requests whose commit may or may not have happened."}),
	}
}
