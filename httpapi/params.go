package httpapi

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// query is the query of a request, each parameter at most once. What a handler
// has not asked for is refused by done, so that a misspelt parameter does not
// pass for its default.
type query struct {
	values url.Values
	err    error
}

func parseQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &query{err: kindInvalidParameter.newf("the query string is malformed")}
	}
	for name, all := range values {
		if len(all) > 1 {
			return &query{err: parameterf(name, "is given %d times", len(all))}
		}
	}
	return &query{values: values}
}

func parameterf(name, format string, args ...any) *problem {
	name = strings.ToValidUTF8(name, "\uFFFD")
	return kindInvalidParameter.newf("parameter "+strings.ReplaceAll(name, "%", "%%")+" "+format, args...).with("parameter", name)
}

// take returns a parameter and whether it was given.
func (q *query) take(name string) (string, bool) {
	all, ok := q.values[name]
	if !ok {
		return "", false
	}
	delete(q.values, name)
	return all[0], true
}

// fail keeps the first error.
func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// integer returns a parameter between low and high, or def if it is not given.
func (q *query) integer(name string, def, low, high int64) int64 {
	text, ok := q.take(name)
	if !ok {
		return def
	}
	n, ok := parseDecimal(text)
	switch {
	case !ok:
		q.fail(parameterf(name, "must be an integer"))
	case n < low:
		q.fail(parameterf(name, "must be at least %d", low).with("limit", low))
	case n > high:
		q.fail(parameterf(name, "must be at most %d", high).with("limit", high))
	default:
		return n
	}
	return def
}

// flag returns a boolean parameter, false if it is not given.
func (q *query) flag(name string) bool {
	switch text, ok := q.take(name); {
	case !ok, text == "false":
		return false
	case text == "true":
		return true
	default:
		q.fail(parameterf(name, "must be true or false"))
		return false
	}
}

// given tells whether a parameter is there that nobody took yet.
func (q *query) given(name string) bool {
	_, ok := q.values[name]
	return ok
}

// milliseconds returns a duration parameter, 0 if it is not given.
func (q *query) milliseconds(name string, high time.Duration) time.Duration {
	return time.Duration(q.integer(name, 0, 0, high.Milliseconds())) * time.Millisecond
}

// done returns the first error, which includes a parameter that nobody took.
func (q *query) done() error {
	if q.err != nil {
		return q.err
	}
	unknown := ""
	for name := range q.values {
		if unknown == "" || name < unknown {
			unknown = name
		}
	}
	if len(q.values) > 0 {
		return parameterf(unknown, "is not known here")
	}
	return nil
}

// parseDecimal reads an integer in its one canonical form, so that one
// resource has one URL. It does not take +1, 01 or -0.
func parseDecimal(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}

// singleHeader returns a header that must not be repeated, and whether it is there.
func singleHeader(h http.Header, name string) (string, bool, error) {
	all := h.Values(name)
	switch len(all) {
	case 0:
		return "", false, nil
	case 1:
		return strings.TrimSpace(all[0]), true, nil
	}
	return "", false, headerf(name, "is given %d times", len(all))
}

func headerf(name, format string, args ...any) *problem {
	return kindInvalidHeader.newf("header "+name+" "+format, args...).with("header", name)
}

// integerHeader returns a header's integer between 0 and high, and whether it is there.
func integerHeader(h http.Header, name string, high int64) (int64, bool, error) {
	text, ok, err := singleHeader(h, name)
	if !ok {
		return 0, false, err
	}
	n, ok := parseDecimal(text)
	if !ok || n < 0 || n > high {
		return 0, false, headerf(name, "must be an integer from 0 to %d", high)
	}
	return n, true, nil
}

// partitionParam returns the partition in a path.
func (x *exchange) partitionParam() (int32, error) {
	text, err := x.pathParam("partition")
	if err != nil {
		return 0, err
	}
	n, ok := parseDecimal(text)
	if !ok || n < 0 || n > math.MaxInt32 {
		return 0, parameterf("partition", "must be an integer from 0 to %d", math.MaxInt32)
	}
	return int32(n), nil
}

// topicParam returns the topic name in a path.
func (x *exchange) topicParam() (string, error) {
	name, err := x.pathParam("topic")
	if err != nil {
		return "", err
	}
	return name, checkTopicName(name)
}

// groupParam returns the group name in a path.
func (x *exchange) groupParam() (string, error) {
	name, err := x.pathParam("group")
	if err != nil {
		return "", err
	}
	return name, checkGroupName(name)
}

// memberParam returns the member id in a path.
func (x *exchange) memberParam() (string, error) {
	id, err := x.pathParam("member")
	if err != nil {
		return "", err
	}
	return id, checkMemberID(id)
}
