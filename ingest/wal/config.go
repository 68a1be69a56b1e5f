package wal

import (
	"errors"
	"fmt"
	"math"
)

// errVersion marks a file of a newer program: neither damage nor ours to touch.
var errVersion = errors.New("unknown format version")

// Errors that callers branch on.
var (
	// ErrFull says that the files of all node ids have reached BytesMax. It
	// passes once Release or Leftover.Remove has freed a file.
	ErrFull = errors.New("write-ahead buffer is full")
	// ErrBusy says that BufferBytesMax or BufferFramesMax frames wait for
	// the disk. It passes with the next fsync.
	ErrBusy = errors.New("write-ahead buffer has too much to write")
	// ErrTooLarge says that one frame is larger than BufferBytesMax.
	ErrTooLarge = errors.New("frame is larger than the write-ahead buffer takes")
	// ErrNumberOrder says that a number was not above all earlier ones.
	ErrNumberOrder = errors.New("frame number is not ascending")
	// ErrFailed says that a write or an fsync failed. The log stays failed;
	// whether the frames that were waiting are on the disk is unknown.
	ErrFailed = errors.New("write-ahead buffer has failed")
	// ErrClosed says that the log takes no more frames.
	ErrClosed = errors.New("write-ahead buffer is closed")
	// ErrLocked says that another process uses the directory.
	ErrLocked = errors.New("directory of the write-ahead buffer is in use by another process")
	// ErrNotEmpty says that the log has frames that were not released.
	ErrNotEmpty = errors.New("write-ahead buffer has frames that are not committed")
)

// Config says where the log lies and how much it may hold.
type Config struct {
	// Dir is the directory of the files of all node ids. Create makes it.
	Dir string
	// FileBytesMax is the size in bytes above which a file is closed and
	// the next one begun.
	FileBytesMax int64
	// BytesMax bounds the bytes of all files in Dir that hold frames still
	// to be committed, those of earlier lives included; beyond it Append
	// answers ErrFull. Files that were set aside do not count.
	BytesMax int64
	// BufferBytesMax bounds the bytes of frames that were appended and not
	// yet fsynced, and so the size of one frame.
	BufferBytesMax int64
	// BufferFramesMax bounds the number of those frames.
	BufferFramesMax int
}

// DefaultConfig returns the configuration of a node that is told nothing but
// the directory.
func DefaultConfig() Config {
	return Config{
		Dir:             "wal",
		FileBytesMax:    64 << 20,
		BytesMax:        4 << 30,
		BufferBytesMax:  32 << 20,
		BufferFramesMax: 1 << 16,
	}
}

// Validate tells what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("wal: Dir is empty")
	case c.BufferBytesMax <= frameHeaderSize || c.BufferBytesMax > math.MaxUint32:
		return fmt.Errorf("wal: BufferBytesMax %d is not between %d and %d", c.BufferBytesMax, frameHeaderSize+1, uint32(math.MaxUint32))
	case c.BufferFramesMax < 1:
		return fmt.Errorf("wal: BufferFramesMax %d is below 1", c.BufferFramesMax)
	case c.FileBytesMax < fileOverhead+c.BufferBytesMax:
		// So that no file outgrows FileBytesMax, whatever one write brings.
		return fmt.Errorf("wal: FileBytesMax %d is below BufferBytesMax + %d", c.FileBytesMax, fileOverhead)
	case c.BytesMax < 2*c.FileBytesMax:
		// The newest file is kept even when all its frames are released. A
		// bound that it could fill alone would never take a frame again.
		return fmt.Errorf("wal: BytesMax %d is below twice FileBytesMax", c.BytesMax)
	}
	return nil
}
