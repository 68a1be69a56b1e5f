package recordbatch

import (
	"errors"
	"fmt"
)

// What is wrong with a batch; found with errors.Is in an InvalidError.
var (
	ErrTruncated    = errors.New("truncated")
	ErrMagic        = errors.New("magic is not 2")
	ErrCRC          = errors.New("CRC32C does not match")
	ErrCount        = errors.New("record count does not match the records")
	ErrOffsetDeltas = errors.New("offset deltas are not 0, 1, 2, …")
	ErrTimestamps   = errors.New("max timestamp is not the latest of the records' times")
	ErrCodec        = errors.New("unknown compression")
	ErrControl      = errors.New("control and transactional batches are not accepted")
	ErrMalformed    = errors.New("malformed")
	ErrTooLarge     = errors.New("over the limit") // a *TooLargeError says which
)

// InvalidError is a batch that cannot be accepted.
type InvalidError struct {
	Pos int // bytes from the start of the input to the offending batch
	Err error
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("record batch at byte %d: %v", e.Pos, e.Err)
}

func (e *InvalidError) Unwrap() error { return e.Err }

// TooLargeError is something over one of the Limits.
type TooLargeError struct {
	What  string // "record", "batch", "decompressed batch"
	Bytes int64  // at least this many
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d bytes or more is over the limit of %d", e.What, e.Bytes, e.Limit)
}

// Is makes errors.Is(err, ErrTooLarge) true.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// malformed is ErrMalformed with what exactly is malformed.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
