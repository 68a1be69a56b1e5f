//go:build !linux

package wal

import "os"

// fdatasync is a full fsync where the system has no cheaper one that is safe.
func fdatasync(f *os.File) error { return f.Sync() }
