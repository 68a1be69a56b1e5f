package peerhttp

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/wadilog/wadi/catalog"
)

// The calls, as metrics name them.
const (
	callForward = "forward"
	callPull    = "pull"
	callKeep    = "keep"
)

// The results of calls, as metrics name them.
var results = []string{"ok", "not_leader", "busy", "behind", "nobody_there", "failed"}

func resultOf(err error) string {
	var other *catalog.NotLeaderError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &other):
		return "not_leader"
	case errors.Is(err, catalog.ErrBusy):
		return "busy"
	case errors.Is(err, catalog.ErrBehind):
		return "behind"
	case errors.Is(err, catalog.ErrNobodyThere):
		return "nobody_there"
	default:
		return "failed"
	}
}

type clientMetrics struct{ sent *prometheus.CounterVec }

func newClientMetrics(reg prometheus.Registerer) *clientMetrics {
	m := &clientMetrics{
		sent: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_peer_sent_total",
			Help: "Requests sent to the node that leads, by what became of them.",
		}, []string{"call", "result"}),
	}
	showAll(m.sent)
	return m
}

func (m *clientMetrics) count(call string, err error) {
	m.sent.WithLabelValues(call, resultOf(err)).Inc()
}

type serverMetrics struct{ served *prometheus.CounterVec }

func newServerMetrics(reg prometheus.Registerer, s *Server) *serverMetrics {
	f := promauto.With(reg)
	m := &serverMetrics{
		served: f.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_peer_served_total",
			Help: "Requests of other nodes, by what they were answered.",
		}, []string{"call", "result"}),
	}
	showAll(m.served)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wadi_peer_connections",
		Help: "Open connections of other nodes.",
	}, func() float64 { return float64(s.conns.Load()) })
	return m
}

func (m *serverMetrics) count(call string, err error) {
	m.served.WithLabelValues(call, resultOf(err)).Inc()
}

// showAll makes each series exist from the start, so that a first failure is a
// rise from 0.
func showAll(v *prometheus.CounterVec) {
	for _, call := range []string{callForward, callPull, callKeep} {
		for _, result := range results {
			v.WithLabelValues(call, result)
		}
	}
}
