//go:build unix && !linux

package main

import (
	"errors"
	"os"
)

var errLinuxOnly = errors.New("the memory of a running process is told on Linux only")

func fdatasync(f *os.File) error { return f.Sync() }

func resetPeak(int) error { return errLinuxOnly }

func residentBytes(int) (int64, error) { return 0, errLinuxOnly }
