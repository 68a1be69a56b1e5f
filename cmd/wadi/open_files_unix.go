//go:build unix

package main

import (
	"math"
	"syscall"
)

// openFilesMax is how many files and connections the process may have open. The
// runtime has raised the limit as far as it may go.
func openFilesMax() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(uint64(limit.Cur), math.MaxInt)) // Cur is signed on some systems
}
