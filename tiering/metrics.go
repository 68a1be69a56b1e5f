package tiering

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/internal/objstore"
)

// Values of the label kind: why a PUT was sent.
const (
	kindFirst = "first"
	kindRetry = "retry"
	kindHedge = "hedge"
)

type uploaderMetrics struct {
	puts           *prometheus.CounterVec // by kind
	failures       *prometheus.CounterVec // by reason
	bytes          prometheus.Counter
	hedgesWon      prometheus.Counter
	inFlight       prometheus.Gauge
	putTime        prometheus.Histogram
	uploadTime     prometheus.Histogram
	hedgesWithheld prometheus.Counter
}

func newUploaderMetrics(reg prometheus.Registerer, health *storeHealth) *uploaderMetrics {
	const namespace, subsystem = "wadi", "upload"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 17), // 1 ms to 65 s
		})
	}
	m := &uploaderMetrics{
		puts:           counters("puts_total", "PUTs of segments sent to the store, by why: first, retry or hedge.", "kind"),
		failures:       counters("put_failures_total", "PUTs of segments that failed, by reason.", "reason"),
		bytes:          counter("put_bytes_total", "Bytes of all PUTs of segments sent, retries and hedges included."),
		hedgesWon:      counter("hedges_won_total", "Hedges that were answered before the PUT that they stood in for."),
		hedgesWithheld: counter("hedges_withheld_total", "Slow PUTs that were not hedged, for want of budget or of a free place."),
		putTime:        histogram("put_seconds", "Duration of PUTs of segments that succeeded."),
		uploadTime:     histogram("seconds", "Duration of uploads that succeeded, from call to answer, retries included."),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "puts_in_flight", Help: "PUTs of segments under way.",
		}),
	}
	away := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "store_away_seconds",
		Help: "For how long no segment could be put although it was tried; 0 after a success.",
	}, func() float64 {
		if h := health.get(); !h.Healthy() {
			return time.Since(h.AwaySince).Seconds()
		}
		return 0
	})
	reg.MustRegister(m.puts, m.failures, m.bytes, m.hedgesWon, m.hedgesWithheld, m.putTime, m.uploadTime, m.inFlight, away)
	return m
}

func failureReason(err error) string {
	switch {
	case errors.Is(err, errUnanswered):
		return "unanswered"
	case errors.Is(err, objstore.ErrThrottled):
		return "throttled"
	case errors.Is(err, objstore.ErrChecksum):
		return "checksum"
	case refused(err):
		return "refused"
	default:
		return "other"
	}
}
