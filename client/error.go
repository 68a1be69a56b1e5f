package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrInvalidArgument is a call that no node would take; nothing was sent.
var ErrInvalidArgument = errors.New("invalid argument")

func invalidArgument(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalidArgument}, args...)...)
}

// NoValue stands in a number of an Error that the answer does not have.
const NoValue = -1

// Error is an answer that says no: the problem that a node sent, or what
// something between it and here answered.
type Error struct {
	Status int
	Code   Code // "" if it did not come from a node
	Title  string
	Detail string

	// Retryable: the same request may succeed later.
	Retryable bool
	// NoSideEffects: nothing of the request was carried out, and nothing will be.
	NoSideEffects bool
	// RetryAfter is how long the node asks to wait; 0 if it does not.
	RetryAfter time.Duration
	// RequestID is what the node's log names the request by.
	RequestID string

	// Actual values, NoValue where the answer has none.
	LogStartOffset   int64 // of 410 and 416
	HighWatermark    int64 // of 410 and 416
	EndOffset        int64 // of ErrOffsetMismatch
	ExpectedSequence int64 // of ErrOutOfOrderSequence
	// Token is the partition's token, of ErrFencingTokenMismatch; "" is none.
	Token string
	// Members are all members of the problem, as JSON.
	Members map[string]json.RawMessage
}

func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Code != "" {
		return fmt.Sprintf("%s (%d %s)", text, e.Status, string(e.Code))
	}
	return fmt.Sprintf("%s (%d)", text, e.Status)
}

// Is makes errors.Is true for the error's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code != "" && code == e.Code
}

// ConnectionError is a request without a whole answer.
type ConnectionError struct {
	Sent bool // the node may have got the request
	Err  error
}

func (e *ConnectionError) Error() string { return e.Err.Error() }

func (e *ConnectionError) Unwrap() error { return e.Err }

// IsRetryable tells whether the same request may succeed later. That does not
// say that a repeat is harmless: see HadNoEffect.
func IsRetryable(err error) bool {
	var connection *ConnectionError
	if errors.As(err, &connection) {
		return true
	}
	var answer *Error
	return errors.As(err, &answer) && answer.Retryable
}

// HadNoEffect tells whether a failed request is known to have left nothing
// behind, and to leave nothing later.
func HadNoEffect(err error) bool {
	// A DeliveryError speaks of all attempts; what it wraps, of the last.
	var delivery *DeliveryError
	if errors.As(err, &delivery) {
		return !delivery.Unknown
	}
	if unsent := (*notSentError)(nil); errors.As(err, &unsent) {
		return true
	}
	if unknown := (unknownError{}); errors.As(err, &unknown) {
		return false
	}
	var connection *ConnectionError
	if errors.As(err, &connection) {
		return !connection.Sent
	}
	var answer *Error
	if errors.As(err, &answer) {
		return answer.NoSideEffects
	}
	return errors.Is(err, ErrInvalidArgument)
}

// IsOutcomeUnknown tells whether a failed write may have taken effect, or may
// yet.
func IsOutcomeUnknown(err error) bool {
	if err == nil || HadNoEffect(err) {
		return false
	}
	if unknown := (unknownError{}); errors.As(err, &unknown) {
		return true
	}
	var delivery *DeliveryError
	var answer *Error
	if errors.As(err, &delivery) || !errors.As(err, &answer) {
		return true
	}
	// The other 4xx are verdicts on the request.
	return answer.Status >= 500 || answer.Status < 400 || answer.Status == http.StatusRequestTimeout
}

// detailMax bounds what of an unexpected body goes into a message, in bytes.
const detailMax = 200

// problem is the part of a problem that all have.
type problem struct {
	Title         string `json:"title"`
	Detail        string `json:"detail"`
	Code          Code   `json:"code"`
	Retryable     *bool  `json:"retryable"`
	NoSideEffects bool   `json:"no_side_effects"`
}

func parseProblem(status int, header http.Header, body []byte) *Error {
	e := newError(status)
	e.RetryAfter = retryAfter(header.Get("Retry-After"), time.Now())
	e.RequestID = header.Get("X-Request-Id")
	media := header.Get("Content-Type")
	switch {
	case strings.HasPrefix(media, mediaProblem) && e.read(body):
	case strings.HasPrefix(media, "text/plain"):
		// Something between the node and here answered.
		e.Detail = strings.Join(strings.FieldsFunc(string(body[:min(len(body), detailMax)]), isLineBreak), "; ")
	}
	return e
}

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }

func newError(status int) *Error {
	return &Error{
		Status: status, Retryable: retryableStatus(status),
		LogStartOffset: NoValue, HighWatermark: NoValue, EndOffset: NoValue, ExpectedSequence: NoValue,
	}
}

// read takes over what a problem says, and tells whether body is one.
func (e *Error) read(body []byte) bool {
	var p problem
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &p) != nil || json.Unmarshal(body, &members) != nil {
		return false
	}
	e.Title, e.Detail, e.Code, e.NoSideEffects, e.Members = p.Title, p.Detail, p.Code, p.NoSideEffects, members
	if p.Retryable != nil {
		// What says no to that is a node that failed; 502 to 504 pass whatever they say.
		e.Retryable = *p.Retryable || e.Retryable && e.Status != http.StatusInternalServerError
	}
	for name, p := range map[string]*int64{
		"log_start_offset": &e.LogStartOffset, "high_watermark": &e.HighWatermark,
		"end_offset": &e.EndOffset, "expected_seq": &e.ExpectedSequence,
	} {
		if n, err := strconv.ParseInt(string(members[name]), 10, 64); err == nil {
			*p = n
		}
	}
	_ = json.Unmarshal(members["token"], &e.Token) // null, or not there: none
	return true
}

// retryableStatus is whether a request may succeed later, by the status alone.
func retryableStatus(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError:
		return true
	}
	return false
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
