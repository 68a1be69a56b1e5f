package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// problem is an error as the client gets to see it: RFC 9457's problem details
// with Wadi's members code, retryable and no_side_effects. Handlers return it
// like any other error.
type problem struct {
	kind
	detail     string
	retryAfter time.Duration // of 503; 0 for none
	members    []member      // actual values: limits, bounds, expected sequence
	headers    []member      // response headers; their values are text
	cause      error         // what is logged beside it; nil if there is nothing more to say
}

// jsonText is a value that is JSON already.
type jsonText []byte

// member is a named value: an int64, a string, a []string, a jsonText, or nil
// for null.
type member struct {
	name  string
	value any
}

// kind is what all problems of one code share.
type kind struct {
	code          string
	status        int
	title         string
	retryable     bool // the same request may succeed later
	noSideEffects bool // nothing of the request was carried out, and nothing will be
}

// problemTypePath is where the documentation of a code will be found,
// relative to the node; the type member is this and the code.
const problemTypePath = "/problems/"

// newf makes a problem of this kind.
func (k kind) newf(format string, args ...any) *problem {
	return &problem{kind: k, detail: fmt.Sprintf(format, args...)}
}

// with adds an actual value.
func (p *problem) with(name string, value any) *problem {
	p.members = append(p.members, member{name, value})
	return p
}

// withHeader adds a header to the response.
func (p *problem) withHeader(name, value string) *problem {
	p.headers = append(p.headers, member{name, value})
	return p
}

// after says when to come back.
func (p *problem) after(d time.Duration) *problem {
	p.retryAfter = d
	return p
}

// because keeps what is not for the client.
func (p *problem) because(err error) *problem {
	p.cause = err
	return p
}

func (p *problem) Error() string {
	s := p.code + ": " + p.detail
	if p.cause != nil {
		s += ": " + p.cause.Error()
	}
	return s
}

func (p *problem) Unwrap() error { return p.cause }

// appendJSON appends the problem as one JSON object without a line break.
func (p *problem) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendJSONString(dst, problemTypePath+strings.ReplaceAll(p.code, "_", "-"))
	dst = append(dst, `,"title":`...)
	dst = appendJSONString(dst, p.title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendJSONString(dst, strings.ToValidUTF8(p.detail, "\uFFFD"))
	dst = append(dst, `,"code":`...)
	dst = appendJSONString(dst, p.code)
	dst = append(dst, `,"retryable":`...)
	dst = strconv.AppendBool(dst, p.retryable)
	dst = append(dst, `,"no_side_effects":`...)
	dst = strconv.AppendBool(dst, p.noSideEffects)
	for _, m := range p.members {
		dst = append(dst, ',')
		dst = appendJSONString(dst, m.name)
		dst = append(dst, ':')
		dst = appendMember(dst, m.value)
	}
	return append(dst, '}')
}

func appendMember(dst []byte, value any) []byte {
	switch v := value.(type) {
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case nil:
		return append(dst, "null"...)
	case string:
		return appendJSONString(dst, strings.ToValidUTF8(v, "\uFFFD"))
	case jsonText:
		return append(dst, v...)
	case []string:
		dst = append(dst, '[')
		for i, s := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONString(dst, s)
		}
		return append(dst, ']')
	default:
		panic(fmt.Sprintf("httpapi: a problem cannot carry a %T", value))
	}
}

// setHeaders sets the response headers that belong to the problem.
func (p *problem) setHeaders(h http.Header) {
	for _, m := range p.headers {
		h.Set(m.name, m.value.(string))
	}
	if p.retryAfter > 0 {
		// Retry-After counts whole seconds; rounding down would call the client back too early.
		seconds := (p.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	h.Set("Content-Type", mediaProblem)
	h.Set("Cache-Control", "no-store")
}
