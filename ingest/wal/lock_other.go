//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package wal

import (
	"errors"
	"os"
)

func flock(*os.File) error {
	return errors.New("no file lock on this system: run with the write-ahead buffer off")
}
