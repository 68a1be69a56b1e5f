package peerhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
)

// The paths of a Server; the version is that of the messages.
const (
	forwardPath = "/internal/v1/forward"
	pullPath    = "/internal/v1/pull"
	keepPath    = "/internal/v1/keep"
)

const messageMedia = "application/vnd.wadi.peer.v1"

// refusalTextMax is how much of an answer without a message goes into an error.
const refusalTextMax = 200

// Client reaches the catalogs of other nodes. It is a catalog.Peers; its methods
// are safe for concurrent use. How long they wait is up to their contexts, but
// for the connection.
type Client struct {
	identity Identity
	http     *http.Client
	metrics  *clientMetrics
}

// NewClient returns a client; Close ends its connections.
func NewClient(cfg Config, identity Identity, reg prometheus.Registerer) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		// No proxy: the environment's is for the store.
		DialContext:            (&net.Dialer{Timeout: cfg.DialTimeout}).DialContext,
		TLSHandshakeTimeout:    cfg.DialTimeout,
		DisableCompression:     true,
		MaxConnsPerHost:        cfg.PeerConnectionsMax,
		MaxIdleConnsPerHost:    cfg.IdleConnectionsMax,
		IdleConnTimeout:        cfg.IdleTimeout,
		MaxResponseHeaderBytes: int64(cfg.HeaderBytesMax),
	}
	return &Client{
		identity: identity,
		http: &http.Client{
			Transport: transport,
			// The token is for the node that was named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		metrics: newClientMetrics(reg),
	}, nil
}

// Close ends idle connections. No call may be under way.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Forward sends edits to the node at address. They must not be changed any more,
// not even after an error: the transport may still be reading them.
func (c *Client) Forward(ctx context.Context, address string, r catalog.ForwardRequest) (catalog.ForwardAnswer, error) {
	var a catalog.ForwardAnswer
	m, err := encodeForwardRequest(r)
	if err == nil {
		err = c.call(ctx, address, forwardPath, m, forwardMessageMax, func(body []byte) (err error) {
			a, err = decodeForwardAnswer(body)
			return err
		})
	}
	c.metrics.count(callForward, err)
	if err != nil {
		return catalog.ForwardAnswer{}, fmt.Errorf("forward to %s: %w", address, err)
	}
	return a, nil
}

// Pull asks the node at address for entries.
func (c *Client) Pull(ctx context.Context, address string, r catalog.PullRequest) (catalog.PullAnswer, error) {
	var a catalog.PullAnswer
	m, err := encodePullRequest(r)
	if err == nil {
		err = c.call(ctx, address, pullPath, m, pullMessageMax, func(body []byte) (err error) {
			a, err = decodePullAnswer(body)
			return err
		})
	}
	c.metrics.count(callPull, err)
	if err != nil {
		return catalog.PullAnswer{}, fmt.Errorf("pull from %s: %w", address, err)
	}
	return a, nil
}

// Keep sends heartbeats to the node at address.
func (c *Client) Keep(ctx context.Context, address string, r catalog.KeepRequest) (catalog.KeepAnswer, error) {
	var a catalog.KeepAnswer
	m, err := encodeKeepRequest(r)
	if err == nil {
		err = c.call(ctx, address, keepPath, m, keepMessageMax, func(body []byte) (err error) {
			a, err = decodeKeepAnswer(body)
			return err
		})
	}
	c.metrics.count(callKeep, err)
	if err != nil {
		return catalog.KeepAnswer{}, fmt.Errorf("keep members at %s: %w", address, err)
	}
	return a, nil
}

// call sends one message, and hands the answer's to decode.
func (c *Client) call(ctx context.Context, address, path string, m pieces, answerMax int64, decode func([]byte) error) error {
	token, ok := c.identity()
	if !ok {
		return errors.New("the cluster's id is not known yet")
	}
	target, err := endpoint(address, path)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return err
	}
	request.ContentLength = m.size()
	// The transport sends a request again if, and only if, nothing of it was
	// written to a connection that turned out to be closed.
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(m.reader()), nil }
	request.Body, _ = request.GetBody()
	request.Header.Set("Content-Type", messageMedia)
	token.show(request.Header)

	response, err := c.http.Do(request)
	if err != nil {
		if nobodyThere(err) {
			return fmt.Errorf("%w: %w", catalog.ErrNobodyThere, err)
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := readAnswer(response, answerMax)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response, body)
	}
	return decode(body)
}

// nobodyThere tells that the last attempt, and with it each, ended before
// anything was sent, and that no socket listens at the address. A peer that is
// cut off, or has no place to put the connection, does not look like this.
func nobodyThere(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED)
}

// endpoint is the URL of a path of the node at address.
func endpoint(address, path string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", address, err)
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("address %q is not an http URL", address)
	}
	return u.JoinPath(path).String(), nil
}

func (m pieces) reader() io.Reader {
	readers := make([]io.Reader, len(m))
	for i, p := range m {
		readers[i] = bytes.NewReader(p)
	}
	return io.MultiReader(readers...)
}

func readAnswer(response *http.Response, limit int64) ([]byte, error) {
	if response.StatusCode != http.StatusOK {
		limit = messageOverheadMax
	}
	if response.ContentLength > limit {
		return nil, malformed("answer %s of %d bytes, at most %d are allowed", response.Status, response.ContentLength, limit)
	}
	var body bytes.Buffer
	if response.ContentLength > 0 {
		body.Grow(int(response.ContentLength) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if n > limit {
		return nil, malformed("answer %s of more than %d bytes", response.Status, limit)
	}
	return body.Bytes(), nil
}

// The statuses of refusals that promise that nothing was done.
const (
	statusNotLeader = http.StatusMisdirectedRequest
	statusBusy      = http.StatusTooManyRequests
	statusBehind    = http.StatusGone
)

// refusal is the error of an answer other than 200.
func refusal(response *http.Response, body []byte) error {
	switch response.StatusCode {
	case statusNotLeader:
		if e, err := decodeNotLeader(body); err == nil {
			return e
		}
	case statusBusy:
		if decodeBare(body, busy) == nil {
			return catalog.ErrBusy
		}
	case statusBehind:
		if decodeBare(body, behind) == nil {
			return catalog.ErrBehind
		}
	}
	text := strings.ToValidUTF8(string(body[:min(len(body), refusalTextMax)]), "\uFFFD")
	return fmt.Errorf("answered %s: %q", response.Status, strings.TrimSpace(text))
}
