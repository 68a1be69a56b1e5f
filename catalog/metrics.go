package catalog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	leader         prometheus.Gauge
	epoch          prometheus.Gauge
	slot           prometheus.Gauge
	level          prometheus.Gauge
	edits          prometheus.Counter
	editsPerSlot   prometheus.Histogram
	claims         prometheus.Counter
	deposed        prometheus.Counter
	forwardedEdits prometheus.Counter
	relayedEdits   prometheus.Counter
	pulledEntries  prometheus.Counter
	peerErrors     prometheus.Counter
	snapshots      prometheus.Counter
	snapshotErrors prometheus.Counter

	heartbeats        *prometheus.CounterVec
	relayedHeartbeats prometheus.Counter
	membersExpired    prometheus.Counter
}

// The ways of a heartbeat, as metrics name them.
const (
	keptHere     = "here"   // this node leads
	keptByLeader = "leader" // the leader was asked
	keptByEdit   = "edit"   // through the journal
)

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		leader:         f.NewGauge(prometheus.GaugeOpts{Name: "wadi_catalog_leader", Help: "1 while this node believes that it writes the journal."}),
		epoch:          f.NewGauge(prometheus.GaugeOpts{Name: "wadi_catalog_epoch", Help: "Epoch of the newest claim that the replica knows."}),
		slot:           f.NewGauge(prometheus.GaugeOpts{Name: "wadi_catalog_slot", Help: "Journal slot that the replica is at."}),
		level:          f.NewGauge(prometheus.GaugeOpts{Name: "wadi_catalog_feature_level", Help: "Feature level of the catalog."}),
		edits:          f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_edits_total", Help: "Edits that this node committed as the leader."}),
		editsPerSlot:   f.NewHistogram(prometheus.HistogramOpts{Name: "wadi_catalog_edits_per_slot", Help: "Edits in one journal entry.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		claims:         f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_claims_total", Help: "Times that this node took the lead."}),
		deposed:        f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_deposed_total", Help: "Times that this node found another in the slot it wanted."}),
		forwardedEdits: f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_forwarded_edits_total", Help: "Edits that this node sent to the leader."}),
		relayedEdits:   f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_relayed_edits_total", Help: "Edits that this node took from others as the leader."}),
		pulledEntries:  f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_pulled_entries_total", Help: "Journal entries that came from the leader, not from the bucket."}),
		peerErrors:     f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_peer_errors_total", Help: "Requests to the leader that it refused, or did not answer."}),
		snapshots:      f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_snapshots_total", Help: "Snapshots written."}),
		snapshotErrors: f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_snapshot_errors_total", Help: "Snapshots or prunings that failed."}),

		heartbeats:        f.NewCounterVec(prometheus.CounterOpts{Name: "wadi_catalog_heartbeats_total", Help: "Heartbeats of group members that came to this node, by who noted them."}, []string{"way"}),
		relayedHeartbeats: f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_relayed_heartbeats_total", Help: "Heartbeats that this node noted for others as the leader."}),
		membersExpired:    f.NewCounter(prometheus.CounterOpts{Name: "wadi_catalog_members_expired_total", Help: "Group members that this node removed as the leader, since they were silent for too long."}),
	}
	for _, way := range []string{keptHere, keptByLeader, keptByEdit} {
		m.heartbeats.WithLabelValues(way)
	}
	return m
}

func (m *metrics) observe(r *replica, leader bool) {
	m.leader.Set(0)
	if leader {
		m.leader.Set(1)
	}
	m.epoch.Set(float64(r.epoch))
	m.slot.Set(float64(r.last))
	m.level.Set(float64(r.state.Level()))
}
