package tiering

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
)

// Values of the label round.
const (
	roundRetention = "retention"
	roundGarbage   = "garbage"
	roundOrphans   = "orphans"
)

// Values of the label what: why an object was deleted.
const (
	whatGarbage = "garbage"
	whatOrphan  = "orphan"
)

type collectorMetrics struct {
	retentions   prometheus.Counter
	backlog      prometheus.Gauge
	backlogBytes prometheus.Gauge
	backlogAge   prometheus.Gauge
	deleted      *prometheus.CounterVec // by what: garbage or orphan
	deletedBytes *prometheus.CounterVec
	foreign      prometheus.Counter
	uploads      prometheus.Counter
	failures     *prometheus.CounterVec // by round
	roundTime    *prometheus.HistogramVec
}

func newCollectorMetrics(reg prometheus.Registerer) *collectorMetrics {
	const namespace, subsystem = "wadi", "collector"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	m := &collectorMetrics{
		retentions:   counter("retentions_total", "Edits of this node that dropped records which a topic does not keep any more."),
		backlog:      gauge("garbage_objects", "Objects that hold no records any more and are not deleted yet."),
		backlogBytes: gauge("garbage_bytes", "Bytes of the objects that hold no records any more and are not deleted yet."),
		backlogAge:   gauge("garbage_age_seconds", "How long the oldest object without records has waited to be deleted, by the journal's time; 0 if there is none."),
		deleted:      counters("deleted_objects_total", "Objects that this node deleted, by what they were: garbage or orphan.", "what"),
		deletedBytes: counters("deleted_bytes_total", "Bytes of the objects that this node deleted.", "what"),
		foreign:      counter("foreign_keys_total", "Keys found among the segments that are not a segment's; they are left alone."),
		uploads:      counter("aborted_uploads_total", "Uploads begun a day ago and never ended that this node dropped."),
		failures:     counters("failures_total", "Rounds that failed, by what they were for: retention, garbage or orphans.", "round"),
		roundTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "round_seconds", Help: "Duration of rounds, by what they were for.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12), // 1 ms to over an hour
		}, []string{"round"}),
	}
	// They are shown at once, not only after something happened.
	for _, what := range []string{whatGarbage, whatOrphan} {
		m.deleted.WithLabelValues(what)
		m.deletedBytes.WithLabelValues(what)
	}
	for _, round := range []string{roundRetention, roundGarbage, roundOrphans} {
		m.failures.WithLabelValues(round)
		m.roundTime.WithLabelValues(round)
	}
	reg.MustRegister(m.retentions, m.backlog, m.backlogBytes, m.backlogAge, m.deleted, m.deletedBytes, m.foreign, m.uploads, m.failures, m.roundTime)
	return m
}

func (m *collectorMetrics) observe(b catalog.Backlog) {
	m.backlog.Set(float64(b.Objects))
	m.backlogBytes.Set(float64(b.Bytes))
	m.backlogAge.Set(float64(b.OldestMs) / 1000)
}
