package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/wadilog/wadi/internal/objstore"
)

// request names a call for its errors.
type request struct {
	op    string
	key   string
	write bool
}

// check looks at what can be known before anything is sent.
func (r request) check(ctx context.Context, key func(string) error) error {
	if err := ctx.Err(); err != nil {
		return r.refused(err)
	}
	if err := key(r.key); err != nil {
		return r.refused(err)
	}
	return nil
}

// refused is the failure of a request that was not sent.
func (r request) refused(err error) error {
	return r.failure(objstore.NotCommitted, time.Time{}, err)
}

func (r request) failure(outcome objstore.Outcome, date time.Time, err error) error {
	if !r.write {
		outcome = objstore.NotCommitted
	}
	return &objstore.Error{Op: r.op, Key: r.key, Outcome: outcome, Date: date, Err: err}
}

// brokeOff is the failure of a read while its body came.
func (r request) brokeOff(ctx context.Context, date time.Time, err error) error {
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ctx.Err(), asText(err))
	case !errors.Is(err, objstore.ErrRefused):
		err = fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
	return r.failure(objstore.NotCommitted, date, err)
}

// failed turns an error of the SDK into one of this package's.
func (r request) failed(ctx context.Context, err error) error {
	var answered *smithyhttp.ResponseError
	if !errors.As(err, &answered) || answered.Response == nil || answered.Response.Response == nil || answered.Response.StatusCode == 0 {
		if ctx.Err() != nil {
			return r.failure(objstore.Unknown, time.Time{}, fmt.Errorf("%w: %w", ctx.Err(), asText(err)))
		}
		return r.failure(objstore.Unknown, time.Time{}, fmt.Errorf("%w: %w", objstore.ErrUnavailable, asText(err)))
	}
	status, code, message := answered.Response.StatusCode, "", ""
	var api smithy.APIError
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
	} else if ctx.Err() != nil {
		// The body of the answer did not come any more, so a 404 says nothing.
		return r.failure(objstore.Unknown, time.Time{}, fmt.Errorf("%w: %w", ctx.Err(), asText(err)))
	} else {
		message = asText(err).Error()
	}
	outcome, kind := classify(r.op, status, code)
	text := strings.TrimSpace(fmt.Sprintf("status %d %s", status, code))
	if message != "" && message != code {
		text += ": " + message
	}
	return r.failure(outcome, dateHeader(answered.Response), fmt.Errorf("%w: %s", kind, text))
}

// classify says what the status and the error code of an answer mean. The
// reasons for the outcomes are in the documentation of the package.
func classify(op string, status int, code string) (objstore.Outcome, error) {
	switch code {
	case "NoSuchKey", "NoSuchUpload":
		// A 404 without one of these codes may come from anything in between,
		// and an absent object proves too much to believe it.
		return objstore.NotCommitted, objstore.ErrNotFound
	case "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return objstore.NotCommitted, objstore.ErrChecksum
	case "RequestTimeout", "IncompleteBody":
		return objstore.Unknown, objstore.ErrUnavailable
	case "RequestTimeTooSkewed":
		// The clocks of this machine and of the store differ. The SDK learns by how
		// much from this answer, and signs the next request with the store's time.
		return objstore.NotCommitted, objstore.ErrUnavailable
	case "NotImplemented":
		return objstore.NotCommitted, objstore.ErrUnsupported
	}
	switch {
	case status < 300: // an answer that cannot be read
		return objstore.Unknown, objstore.ErrUnavailable
	case status == http.StatusPreconditionFailed && op == objstore.OpPutIfAbsent:
		return objstore.NotCommitted, objstore.ErrExists
	case status == http.StatusConflict:
		return objstore.NotCommitted, objstore.ErrConflict
	case status == http.StatusRequestedRangeNotSatisfiable:
		return objstore.NotCommitted, objstore.ErrInvalidRange
	case status == http.StatusRequestTimeout:
		return objstore.Unknown, objstore.ErrUnavailable
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return objstore.Unknown, objstore.ErrThrottled
	case status == http.StatusNotImplemented:
		return objstore.NotCommitted, objstore.ErrUnsupported
	case status >= 500:
		return objstore.Unknown, objstore.ErrUnavailable
	default: // a redirect, which means the wrong region, or another 4xx
		return objstore.NotCommitted, objstore.ErrRefused
	}
}

// asText keeps the words of an error and none of its types.
func asText(err error) error {
	var sent *url.Error
	if errors.As(err, &sent) {
		err = sent.Err
	}
	return errors.New(err.Error())
}
