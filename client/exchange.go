package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
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
const problemBytesMax = 1 << 20

// request is one request of the HTTP API.
type request struct {
	method      string
	path        []string // elements, not escaped
	key         string   // requests with the same key go to the same server
	query       url.Values
	header      http.Header
	contentType string
	accept      string
	body        []byte
	wait        time.Duration // that the node is told to wait
	answerMax   int64         // bytes of the answer; 0: answerBytesMax
	wrote       func()        // called when the request is out; may be nil
}

// response is an answer with a status below 300.
type response struct {
	status int
	header http.Header
	body   []byte
}

// call attempts a request until it succeeds, or again does not want it repeated.
func (c *Client) call(ctx context.Context, r request, again func(error) bool) (res response, err error) {
	err = c.repeat(ctx, again, func() error {
		res, err = c.attempt(ctx, r)
		return err
	})
	return res, err
}

// repeat calls attempt as the Client's retrier says.
func (c *Client) repeat(ctx context.Context, again func(error) bool, attempt func() error) error {
	retrier := c.retrier
	if retrier == nil {
		if c.retryTimeout < 0 {
			return attempt()
		}
		retrier = NewRetrier(c.retryTimeout, nil)
	}
	return retrier.Do(ctx, again, attempt)
}

// patience is how long what may pass is repeated.
func (c *Client) patience() time.Duration {
	switch {
	case c.retrier != nil:
		return c.retrier.timeout
	case c.retryTimeout < 0:
		return 0
	}
	return c.retryTimeout
}

// callJSON is call with a JSON body and answer; in and out may be nil.
func (c *Client) callJSON(ctx context.Context, r request, again func(error) bool, in, out any) (response, error) {
	if in != nil {
		if err := r.setJSON(in); err != nil {
			return response{}, err
		}
	}
	res, err := c.call(ctx, r, again)
	if err == nil && out != nil {
		err = parseAnswer(res, out)
	}
	return res, err
}

// setJSON makes a value the body of the request.
func (r *request) setJSON(in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return invalidArgument("%w", err)
	}
	r.body, r.contentType = body, mediaJSON
	return nil
}

// parseAnswer reads JSON. Where that fails the node has done its part, and what
// it said was lost on the way.
func parseAnswer(res response, out any) error {
	if err := json.Unmarshal(res.body, out); err != nil {
		return &ConnectionError{Sent: true, Err: fmt.Errorf("parse answer: %w", err)}
	}
	return nil
}

// attempt sends a request once, or to one server after the other while they
// cannot be reached or say that nothing was done.
func (c *Client) attempt(ctx context.Context, r request) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.requestTimeout+r.wait)
	defer cancel()
	var res response
	var err error
	for _, server := range c.servers.candidates(r.key) {
		res, err = c.exchange(ctx, server.base, r)
		if err == nil || !c.servers.rest(server, err) || ctx.Err() != nil {
			break
		}
	}
	return res, err
}

// exchange sends one request and reads the whole answer. Its errors are an
// *Error when the node answered with a status of 300 or more, and a
// *ConnectionError when there is no answer, or only a part of one.
func (c *Client) exchange(ctx context.Context, base *url.URL, r request) (response, error) {
	target := base.JoinPath(escapeAll(r.path)...)
	target.RawQuery = r.query.Encode()
	if r.wrote != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { r.wrote() }})
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return response{}, invalidArgument("%w", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	req.Header.Set("User-Agent", c.userAgent)
	res, err := c.http.Do(req)
	if err != nil {
		return response{}, &ConnectionError{Sent: mayBeSent(err), Err: withoutURL(err)}
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
		return response{}, &ConnectionError{Sent: true, Err: fmt.Errorf("read answer: %w", err)}
	}
	return response{status: res.StatusCode, header: res.Header, body: body}, nil
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
