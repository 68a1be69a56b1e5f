package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route, method and status class; never by topic.
type metrics struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	problems    *prometheus.CounterVec
	answered    prometheus.Counter
	records     *prometheus.CounterVec
	slowReaders prometheus.Counter
	unencoded   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_http_requests_total",
			Help: "Requests by route, method and class of status; aborted ones broke off in their answer.",
		}, []string{"route", "method", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "wadi_http_request_seconds",
			Help:    "Time from a request's headers to the end of its answer; streams are left out.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 13),
		}, []string{"route"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_http_problems_total",
			Help: "Errors by the code that the client got.",
		}, []string{"code"}),
		answered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wadi_http_response_bytes_total",
			Help: "Bytes of all answers' bodies.",
		}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wadi_http_records_total",
			Help: "Records that were acknowledged (produce) or sent (fetch; record batches are not counted).",
		}, []string{"direction"}),
		slowReaders: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wadi_http_slow_readers_total",
			Help: "Streams that were closed because their reader took nothing for too long.",
		}),
	}
	m.unencoded = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wadi_http_unencoded_total",
		Help: "Answers that went out as they were because all encoders were in use.",
	})
	gauge := func(name, help string, g *gate) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			return float64(g.inside.Load())
		})
	}
	reg.MustRegister(m.requests, m.seconds, m.problems, m.answered, m.records, m.slowReaders, m.unencoded,
		gauge("wadi_http_open_requests", "Requests that are being served.", s.open),
		gauge("wadi_http_streams", "Streams that are open.", s.streams),
		gauge("wadi_http_connections", "Open connections.", s.conns),
		gauge("wadi_http_body_decoder_bytes", "Bytes that decoders of encoded bodies take up.", s.decoders),
		gauge("wadi_http_encoders", "Answers that are being encoded.", s.encoders),
		gauge("wadi_http_fetched_bytes", "Bytes of batches in answers that are being written.", s.fetched),
	)
	return m
}

var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (m *metrics) observe(route, method string, res *response, aborted bool, elapsed time.Duration) {
	class := classes[res.status/100]
	if aborted {
		class = "aborted"
	}
	switch method {
	case "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE":
	default:
		method = "other" // any token may stand there; each would be a series of its own
	}
	m.requests.WithLabelValues(route, method, class).Inc()
	if !res.endless {
		m.seconds.WithLabelValues(route).Observe(elapsed.Seconds())
	}
	m.answered.Add(float64(res.written))
}
