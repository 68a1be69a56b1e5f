package segment

import (
	"errors"
	"fmt"
)

// ErrVersion says that the bytes are whole, but of a format that this build
// does not know. It is found with errors.Is in a CorruptError.
var ErrVersion = errors.New("unknown kind or version")

// CorruptError is bytes that are not what was written.
type CorruptError struct {
	Key string // of the object, if known; the decoders leave it to their caller
	Pos Pos    // in the object, or in the bytes given if where they begin is unknown
	Err error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt segment %s at byte %d: %v", e.Key, e.Pos, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corruptf(pos Pos, format string, args ...any) *CorruptError {
	return &CorruptError{Pos: pos, Err: fmt.Errorf(format, args...)}
}
