package journal

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one journal. Requests to the store are counted by the bucket.
type metrics struct {
	writes       *prometheus.CounterVec // by kind and result
	repeats      prometheus.Counter
	hedges       prometheus.Counter
	readBacks    prometheus.Counter
	settle       prometheus.Histogram
	entryBytes   prometheus.Counter
	snapshots    *prometheus.CounterVec // by result
	snapshotSize prometheus.Gauge
	deletions    *prometheus.CounterVec // by object
	foreignKeys  prometheus.Counter
	suspectDates prometheus.Counter
	readRepeats  prometheus.Counter
}

// Values of the label "result" of writes and snapshots.
const (
	resultCommitted  = "committed"
	resultTaken      = "taken"
	resultUnsettled  = "unsettled"
	resultNotWritten = "not_written"
	resultFailed     = "failed"
)

// Values of the label "object" of deletions.
const (
	objectSlot     = "slot"
	objectPart     = "part"
	objectManifest = "manifest"
)

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wadi_journal_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wadi_journal_" + name, Help: help}, labels)
	}
	return &metrics{
		writes:      counters("writes_total", "Entries written, by kind and what became of them.", "kind", "result"),
		repeats:     counter("write_repeats_total", "PUTs of a slot or manifest beyond the first."),
		hedges:      counter("hedges_total", "PUTs of a slot sent beside one that was slow."),
		readBacks:   counter("read_backs_total", "Slots and manifests read back since the outcome of a PUT was not known."),
		readRepeats: counter("read_repeats_total", "Reads, listings, deletions and parts tried again."),
		settle: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wadi_journal_settle_seconds",
			Help:    "Time from the call of a write to the settlement of its slot.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		entryBytes: counter("entry_bytes_total", "Bytes of committed entries."),
		snapshots:  counters("snapshots_total", "Snapshots written, by what became of them; taken: another node's was first.", "result"),
		snapshotSize: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wadi_journal_snapshot_bytes", Help: "Size of the snapshot that was written last.",
		}),
		deletions:    counters("deletions_total", "Objects deleted, by what they are.", "object"),
		foreignKeys:  counter("foreign_keys_total", "Keys skipped in listings since they are not the journal's."),
		suspectDates: counter("suspect_dates_total", "Dates of the store passed over for being far from the local clock."),
	}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		m.writes, m.repeats, m.hedges, m.readBacks, m.readRepeats, m.settle, m.entryBytes, m.snapshots,
		m.snapshotSize, m.deletions, m.foreignKeys, m.suspectDates,
	} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("%T: %w", c, err)
		}
	}
	return nil
}
