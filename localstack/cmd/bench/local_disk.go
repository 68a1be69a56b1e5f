package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// diskWriteBytes is what is written before each fdatasync.
const diskWriteBytes = 64 << 10

// diskSync appends to a file in dir and syncs it, over and over, as the
// write-ahead buffer does. Both are timed together.
func diskSync(dir string, d time.Duration) (result latency, err error) {
	file, err := os.Create(filepath.Join(dir, "fdatasync"))
	if err != nil {
		return latency{}, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, diskWriteBytes)
	return lockstep(d, func(int) error {
		if _, err := file.Write(block); err != nil {
			return err
		}
		return fdatasync(file)
	})
}
