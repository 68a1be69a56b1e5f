package wal

import (
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync flushes the bytes and the length, and spares the time stamps.
// EINTR is no failed fsync: nothing was reported lost.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
