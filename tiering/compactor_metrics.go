package tiering

import "github.com/prometheus/client_golang/prometheus"

// Values of the label result of jobs.
const (
	jobDone    = "done"    // every partition was swapped
	jobPartly  = "partly"  // some had changed meanwhile
	jobInVain  = "in_vain" // all had
	jobClaimed = "claimed" // another job has the topic
	jobFailed  = "failed"
)

// Values of the label reason of failures.
const (
	reasonDamage       = "damage"
	reasonConservation = "conservation"
	reasonStore        = "store"
	reasonCatalog      = "catalog"
	reasonTimeout      = "timeout"
)

type compactorMetrics struct {
	backlogExtents prometheus.Gauge
	backlogBytes   prometheus.Gauge
	backlogAge     prometheus.Gauge
	jobs           *prometheus.CounterVec // by result
	failures       *prometheus.CounterVec // by reason
	replaced       prometheus.Counter
	made           prometheus.Counter
	bytes          prometheus.Counter
	readBytes      prometheus.Counter
	jobTime        prometheus.Histogram
	running        prometheus.Gauge
}

func newCompactorMetrics(reg prometheus.Registerer) *compactorMetrics {
	const namespace, subsystem = "wadi", "compactor"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	m := &compactorMetrics{
		backlogExtents: gauge("backlog_extents", "Extents that are small and old enough to be compacted."),
		backlogBytes:   gauge("backlog_bytes", "Bytes of the extents that are small and old enough to be compacted."),
		backlogAge:     gauge("backlog_age_seconds", "Age of the oldest extent that is small enough to be compacted, by its commit; 0 if there is none."),
		jobs:           counters("jobs_total", "Jobs of compaction that this node ended, by result: done, partly, in_vain, claimed or failed.", "result"),
		failures:       counters("failures_total", "Jobs of compaction that failed, by reason: damage, conservation, store, catalog or timeout.", "reason"),
		replaced:       counter("replaced_extents_total", "Extents in whose place others were put."),
		made:           counter("made_extents_total", "Extents that were put in the place of others."),
		bytes:          counter("bytes_total", "Bytes of the segments that compaction wrote."),
		readBytes:      counter("read_bytes_total", "Bytes that compaction read from the store, to join them and to check what it wrote."),
		jobTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "job_seconds", Help: "Duration of jobs of compaction that wrote a segment.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 12), // 10 ms to over 11 hours
		}),
		running: gauge("running_jobs", "Jobs of compaction at work on this node."),
	}
	// They are shown at once, not only after something happened.
	for _, result := range []string{jobDone, jobPartly, jobInVain, jobClaimed, jobFailed} {
		m.jobs.WithLabelValues(result)
	}
	for _, reason := range []string{reasonDamage, reasonConservation, reasonStore, reasonCatalog, reasonTimeout} {
		m.failures.WithLabelValues(reason)
	}
	reg.MustRegister(m.backlogExtents, m.backlogBytes, m.backlogAge, m.jobs, m.failures, m.replaced, m.made, m.bytes, m.readBytes, m.jobTime, m.running)
	return m
}

func (m *compactorMetrics) observe(b backlog) {
	m.backlogExtents.Set(float64(b.extents))
	m.backlogBytes.Set(float64(b.bytes))
	m.backlogAge.Set(float64(b.oldestMs) / 1000)
}
