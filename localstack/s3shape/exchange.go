package s3shape

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	client, store *peer
	request       *http.Request
	fate          fate
	arrived       time.Time // the last byte of the request
	last          bool      // the connection ends with it
}

func (e *exchange) run(ctx context.Context) error {
	e.last = e.request.Close
	if strings.EqualFold(e.request.Header.Get("Expect"), "100-continue") {
		e.request.Header.Del("Expect")
		if _, err := io.WriteString(e.client, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	if e.fate.slowDown {
		return e.refuse(ctx)
	}
	if err := e.passRequest(ctx); err != nil {
		return err
	}
	return e.passAnswer(ctx)
}

// refuse takes the request in and answers that it is one too many.
func (e *exchange) refuse(ctx context.Context) error {
	// Closing reads the body to its end.
	if _, err := io.Copy(io.Discard, e.request.Body); err != nil {
		return err
	}
	e.arrived = time.Now()
	if err := wait(ctx, e.arrived.Add(e.fate.answerAfter)); err != nil {
		return err
	}
	const body = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`
	out := e.client.out
	_, _ = fmt.Fprintf(out, "HTTP/1.1 503 Slow Down\r\nDate: %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n",
		e.arrived.UTC().Format(http.TimeFormat), len(body))
	if e.request.Method != http.MethodHead {
		_, _ = out.WriteString(body)
	}
	return out.Flush()
}

// passRequest sends all of the request but its last byte as it comes, and that
// when the time of its effect has come.
func (e *exchange) passRequest(ctx context.Context) error {
	r, out := e.request, e.store.out
	_, _ = fmt.Fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	chunked := len(r.TransferEncoding) > 0
	if chunked {
		_, _ = out.WriteString("Transfer-Encoding: chunked\r\n")
	}
	_ = r.Header.Write(out)
	_, _ = out.WriteString("\r\n")
	switch {
	case chunked:
		body := httputil.NewChunkedWriter(out)
		if _, err := io.Copy(body, r.Body); err != nil {
			return err
		}
		if err := e.effect(ctx); err != nil {
			return err
		}
		_ = body.Close()
		_, _ = out.WriteString("\r\n")
	case r.ContentLength > 0:
		if err := out.Flush(); err != nil {
			return err
		}
		if err := pass(e.store, e.client, r.ContentLength-1); err != nil {
			return err
		}
		last, err := e.client.in.ReadByte()
		if err != nil {
			return err
		}
		if err := e.effect(ctx); err != nil {
			return err
		}
		_ = out.WriteByte(last)
	default:
		if err := e.effect(ctx); err != nil {
			return err
		}
	}
	return out.Flush()
}

// effect waits for the time at which the store may see the request.
func (e *exchange) effect(ctx context.Context) error {
	e.arrived = time.Now()
	return wait(ctx, e.arrived.Add(e.fate.effectAfter))
}

// passAnswer sends the store's answer when its time has come.
func (e *exchange) passAnswer(ctx context.Context) error {
	answer, err := http.ReadResponse(e.store.in, e.request)
	if err != nil {
		return err
	}
	if err := wait(ctx, e.arrived.Add(e.fate.answerAfter)); err != nil {
		return err
	}
	e.last = e.last || answer.Close
	out := e.client.out
	_, _ = fmt.Fprintf(out, "HTTP/1.1 %s\r\n", answer.Status)
	chunked := len(answer.TransferEncoding) > 0
	if chunked {
		_, _ = out.WriteString("Transfer-Encoding: chunked\r\n")
	}
	_ = answer.Header.Write(out)
	_, _ = out.WriteString("\r\n")
	switch {
	case answer.Body == http.NoBody:
	case chunked:
		body := httputil.NewChunkedWriter(out)
		if _, err := io.Copy(body, answer.Body); err != nil {
			return err
		}
		_ = body.Close()
		_, _ = out.WriteString("\r\n")
	case answer.ContentLength < 0:
		e.last = true
		if _, err := io.Copy(out, answer.Body); err != nil {
			return err
		}
	default:
		if err := out.Flush(); err != nil {
			return err
		}
		return pass(e.client, e.store, answer.ContentLength)
	}
	return out.Flush()
}

// pass copies n bytes from one connection to the other: those that were read
// ahead, and the rest within the kernel if it can.
func pass(to, from *peer, n int64) error {
	ahead := min(n, int64(from.in.Buffered()))
	if _, err := io.CopyN(to.Conn, io.LimitReader(from.in, ahead), ahead); err != nil {
		return err
	}
	_, err := io.CopyN(to.Conn, from.Conn, n-ahead)
	return err
}

// wait returns at a time, or with an error when ctx ends before.
func wait(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
