package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// The operations of a Bucket, as they stand in errors, metrics and fault rules.
const (
	OpGet         = "get"
	OpGetRange    = "get-range"
	OpPut         = "put"
	OpPutIfAbsent = "put-if-absent"
	OpPutStream   = "put-stream"
	OpList        = "list"
	OpDelete      = "delete"
	OpListUploads = "list-uploads"
	OpAbortUpload = "abort-upload"
	OpPresign     = "presign" // only in errors: it sends no request
)

// ListPageMax is the most keys that one List returns, as in S3.
const ListPageMax = 1000

// Bucket is a flat store of objects under keys. Keys are relative to the
// prefix that the bucket was opened with. Implementations are safe for
// concurrent use. LIST, GET and the conditional PUT are strongly consistent:
// what was put before a request started is seen by it. Keys obey CheckKey.
//
// No method retries by itself: the callers know which requests may be repeated.
// Every error is an *Error or wraps one; OutcomeOf tells what became of a write.
type Bucket interface {
	// Get reads a whole object. ErrNotFound if there is none.
	Get(ctx context.Context, key string) (Object, error)
	// GetRange reads length bytes from byte pos on. A range that ends beyond
	// the object is ErrInvalidRange; a body shorter than asked is an error.
	GetRange(ctx context.Context, key string, pos, length int64) (Object, error)
	// Put writes an object, replacing any other, with a checksum that the
	// store verifies before it answers.
	Put(ctx context.Context, key string, body []byte) (Receipt, error)
	// PutIfAbsent writes an object unless the key is taken (ErrExists).
	// ErrConflict says that a concurrent request got in the way and nothing was
	// settled. Any other error may mean that the object was written.
	PutIfAbsent(ctx context.Context, key string, body []byte) (Receipt, error)
	// PutStream writes an object of unknown size in parts, holding at most two
	// parts in memory. An error leaves no object; it may leave an upload, which
	// ListUploads names. Only if the outcome is Unknown, because the last request
	// of the upload got no answer, the object may be there nevertheless.
	PutStream(ctx context.Context, key string, body io.Reader) (Receipt, error)
	// List returns up to limit keys (at most 1000) below prefix that sort after
	// startAfter, in ascending order of bytes. A limit below 1 means 1000.
	List(ctx context.Context, prefix, startAfter string, limit int) (Page, error)
	// Delete removes an object; that it was not there is no error.
	Delete(ctx context.Context, key string) (Receipt, error)
	// ListUploads returns multipart uploads below prefix that were begun and
	// neither completed nor aborted.
	ListUploads(ctx context.Context, prefix string) ([]Upload, error)
	// AbortUpload drops an upload and its parts; that it is gone is no error.
	AbortUpload(ctx context.Context, upload Upload) error
}

// Object is what a read returned.
type Object struct {
	Body []byte
	Size int64     // bytes of the whole object, also for a range
	Date time.Time // the store's clock when it answered; zero if it did not say
}

// Receipt is what a write returned.
type Receipt struct {
	Date time.Time // the store's clock when it answered; zero if it did not say
}

// ObjectInfo is a row of a listing.
type ObjectInfo struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// Page is one answer to List.
type Page struct {
	Objects []ObjectInfo
	More    bool      // there are further keys after the last one
	Date    time.Time // the store's clock when it answered; zero if it did not say
}

// Upload is a multipart upload under way.
type Upload struct {
	Key   string
	ID    string
	Begun time.Time // zero if the store does not say
}

// Outcome is what became of a write.
type Outcome uint8

// A write took effect, did not and never will, or nobody knows yet.
const (
	Committed Outcome = iota + 1
	NotCommitted
	Unknown
)

func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case NotCommitted:
		return "not committed"
	default:
		return "unknown"
	}
}

// Conditions that callers branch on, found with errors.Is.
var (
	ErrNotFound     = errors.New("object not found")
	ErrExists       = errors.New("object exists")              // 412: the condition failed
	ErrConflict     = errors.New("conflicting request")        // 409: nothing was settled
	ErrInvalidRange = errors.New("range beyond the object")    // 416
	ErrThrottled    = errors.New("store asks to slow down")    // 429 and 503
	ErrChecksum     = errors.New("checksum refused by store")  // the body arrived changed
	ErrUnavailable  = errors.New("store unavailable")          // 5xx, no connection, no answer
	ErrRefused      = errors.New("request refused by store")   // other 4xx: access, no such bucket, malformed
	ErrUnsupported  = errors.New("not supported by the store") // the driver cannot do this at all
)

// Error is a failed request to a store.
type Error struct {
	Op      string // one of the Op constants
	Key     string
	Outcome Outcome   // NotCommitted for every read
	Date    time.Time // the store's clock if it answered; else zero
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Key, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// OutcomeOf tells what became of a write that returned err. An error that no
// driver made is Unknown, since nothing is known about it.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Committed
	}
	var e *Error
	if errors.As(err, &e) && e.Outcome != 0 {
		return e.Outcome
	}
	return Unknown
}

// DateOf returns the store's clock as carried by an error, or the zero time.
func DateOf(err error) time.Time {
	var e *Error
	if errors.As(err, &e) {
		return e.Date
	}
	return time.Time{}
}
