package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Media types of the HTTP API.
const (
	mediaJSON        = "application/json"
	mediaNDJSON      = "application/x-ndjson"
	mediaRecordBatch = "application/vnd.kafka.recordbatch.v2"
	mediaProblem     = "application/problem+json"
	mediaRaw         = "application/octet-stream"
)

// answerBytesMax bounds an answer unless the request says otherwise.
const answerBytesMax = 16 << 20

// problemBytesMax bounds what is read of an answer that says no.
const problemBytesMax = 64 << 10

// dialTimeout bounds the wait for a connection.
const dialTimeout = 5 * time.Second

// client talks to one node, or to whatever balances the load of several. It is
// safe for concurrent use and retries nothing by itself.
type client struct {
	base *url.URL
	http *http.Client
}

// newClient returns a client of the node at server that keeps up to
// connections open. A server that is no URL of a node is wrong usage.
func newClient(env *environment, server string, connections int) (*client, error) {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	base, err := url.Parse(server)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, usagef("--server %q is not the URL of a node, such as http://127.0.0.1:8080", server)
	}
	if base.RawQuery != "" || base.Fragment != "" {
		return nil, usagef("--server %q: the URL of a node has neither a query nor a fragment", server)
	}
	dial := env.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	return &client{base: base, http: &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true, // batches are compressed already
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,
	}}}, nil
}

// close drops idle connections.
func (c *client) close() { c.http.CloseIdleConnections() }

// request is one request of the HTTP API.
type request struct {
	method      string
	path        []string // elements, not escaped
	query       url.Values
	contentType string
	accept      string
	body        []byte
	timeout     time.Duration // for the whole exchange; 0: that of the context alone
	answerMax   int64         // bytes of the answer; 0: answerBytesMax
}

// response is an answer with a status below 300.
type response struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request and reads the whole answer. Its errors are a
// *problemError when the node answered with a status of 300 or more, and a
// *transportError when there is no answer, or only a part of one.
func (c *client) do(ctx context.Context, r request) (response, error) {
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	target := c.base.JoinPath(escapeAll(r.path)...)
	target.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return response{}, err
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	req.Header.Set("User-Agent", "wadi/"+version)
	res, err := c.http.Do(req)
	if err != nil {
		return response{}, &transportError{sent: mayBeSent(err), err: withoutURL(err)}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		// The status is the verdict; what can be read of the reasons is a bonus.
		body, _ := io.ReadAll(io.LimitReader(res.Body, problemBytesMax))
		return response{}, parseProblem(res.StatusCode, res.Header, body)
	}
	limit := r.answerMax
	if limit == 0 {
		limit = answerBytesMax
	}
	body, err := readBounded(res.Body, res.ContentLength, limit)
	if err != nil {
		return response{}, &transportError{sent: true, err: fmt.Errorf("read answer: %w", err)}
	}
	return response{status: res.StatusCode, header: res.Header, body: body}, nil
}

// doJSON is do with a JSON body and answer; in and out may be nil.
func (c *client) doJSON(ctx context.Context, r request, in, out any) (response, error) {
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return response{}, err
		}
		r.body, r.contentType = body, mediaJSON
	}
	res, err := c.do(ctx, r)
	if err != nil {
		return res, err
	}
	if out != nil {
		if err := json.Unmarshal(res.body, out); err != nil {
			// The node did its part; what it said was lost on the way.
			return res, &transportError{sent: true, err: fmt.Errorf("parse answer: %w", err)}
		}
	}
	return res, nil
}

func escapeAll(path []string) []string {
	escaped := make([]string, len(path))
	for i, element := range path {
		escaped[i] = url.PathEscape(element)
	}
	return escaped
}

// readBounded reads all of r, or fails beyond limit bytes. size is what r is
// expected to hold, or -1.
func readBounded(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("answer of %d bytes is over the limit of %d", size, limit)
	}
	var buf bytes.Buffer
	if size > 0 {
		buf.Grow(int(size) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("answer is over the limit of %d bytes", limit)
	}
	return buf.Bytes(), nil
}

// transportError is a request without a whole answer.
type transportError struct {
	sent bool // the node may have got it
	err  error
}

func (e *transportError) Error() string { return e.err.Error() }

func (e *transportError) Unwrap() error { return e.err }

// mayBeSent tells whether bytes of the request can have left: not when there
// was never a connection.
func mayBeSent(err error) bool {
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

// withoutURL drops the method and URL that net/http puts before an error.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// problemError is an answer that says no.
type problemError struct {
	Status        int
	Code          string
	Title         string
	Detail        string
	Retryable     *bool // nil: not said
	NoSideEffects bool
	RetryAfter    time.Duration
}

func (e *problemError) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Code != "" {
		return fmt.Sprintf("%s (%d %s)", text, e.Status, e.Code)
	}
	return fmt.Sprintf("%s (%d)", text, e.Status)
}

// detailMax bounds what of an unexpected body goes into a message, in bytes.
const detailMax = 200

func parseProblem(status int, header http.Header, body []byte) *problemError {
	e := &problemError{Status: status, RetryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	var p struct {
		Title         string `json:"title"`
		Detail        string `json:"detail"`
		Code          string `json:"code"`
		Retryable     *bool  `json:"retryable"`
		NoSideEffects bool   `json:"no_side_effects"`
	}
	if strings.HasPrefix(header.Get("Content-Type"), mediaProblem) && json.Unmarshal(body, &p) == nil {
		e.Title, e.Detail, e.Code, e.Retryable, e.NoSideEffects = p.Title, p.Detail, p.Code, p.Retryable, p.NoSideEffects
		return e
	}
	// Something between the node and here answered.
	if text := oneLine(string(body[:min(len(body), detailMax)])); strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		e.Detail = text
	}
	return e
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 && seconds < 1<<20 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
