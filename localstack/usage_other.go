//go:build unix && !linux

package localstack

import (
	"errors"
	"os"
	"time"
)

func runningUsage(int) (time.Duration, int64, error) {
	return 0, 0, errors.New("the usage of a running process is told on Linux only")
}

func endedUsage(state *os.ProcessState) (time.Duration, int64, error) {
	return state.UserTime() + state.SystemTime(), 0, errors.New("peak memory is told on Linux only")
}
