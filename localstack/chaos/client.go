package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	mediaBatch = "application/vnd.kafka.recordbatch.v2"
	mediaJSON  = "application/json"

	dialTimeout = 2 * time.Second
	// requestTimeout bounds a request of a client but for long polls. A request
	// to a node that stands still is given up and sent again.
	requestTimeout = 5 * time.Second
	// retryPause is how long a client waits before it tries again.
	retryPause = 50 * time.Millisecond
	// answerBytesMax bounds an answer.
	answerBytesMax = 64 << 20
)

// answer is what came back of a request.
type answer struct {
	status    int // 0: there was no whole answer
	problem   problem
	header    http.Header
	body      []byte
	err       error
	neverSent bool
}

// problem is an error that a node answers with; Code is empty if it was none of
// a node.
type problem struct {
	Code           string `json:"code"`
	Retryable      bool   `json:"retryable"`
	NoSideEffects  bool   `json:"no_side_effects"`
	Offset         *int64 `json:"offset"`
	LogStartOffset *int64 `json:"log_start_offset"`
	HighWatermark  *int64 `json:"high_watermark"`
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body[:min(len(a.body), 500)]))
}

// outcome is what a producer learns of its request by an answer.
func (a answer) outcome() Outcome {
	switch {
	case a.neverSent || a.problem.NoSideEffects:
		return NoEffect
	case a.status == http.StatusOK || a.status == http.StatusCreated || a.status == http.StatusAccepted:
		return Acked
	default:
		return Unknown
	}
}

// again tells whether a client should send the same once more: the node says so,
// no node answered, or the load balancer reached none.
func (a answer) again() bool {
	if a.status == 0 || a.problem.Retryable {
		return true
	}
	return a.problem.Code == "" && (a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout)
}

// kind names the answer for counts of them.
func (a answer) kind() string {
	var timeout interface{ Timeout() bool }
	switch {
	case a.neverSent:
		return "not connected"
	case errors.As(a.err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case a.status == 0:
		return "connection broke"
	case a.problem.Code != "":
		return fmt.Sprintf("%d %s", a.status, a.problem.Code)
	case a.status >= 400:
		return fmt.Sprintf("%d of the balancer", a.status)
	default:
		return fmt.Sprint(a.status)
	}
}

// client sends requests to a node, or to a load balancer before them.
type client struct {
	name string // for findings
	url  string
	http *http.Client
}

func newTransport() *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
	}
}

// send sends one request and reads the answer. Headers are names and values in turn.
func (c *client) send(ctx context.Context, method, path string, body []byte, headers ...string) answer {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{err: err, neverSent: true}
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		var dial *net.OpError
		return answer{err: err, neverSent: errors.As(err, &dial) && dial.Op == "dial"}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return answer{err: err}
	}
	a := answer{status: response.StatusCode, header: response.Header, body: text}
	if a.status >= 400 && json.Unmarshal(text, &a.problem) != nil {
		a.problem = problem{}
	}
	return a
}

// within is send with a timeout.
func (c *client) within(ctx context.Context, d time.Duration, method, path string, body []byte, headers ...string) answer {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return c.send(ctx, method, path, body, headers...)
}
