//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled tells whether this binary was built with failpoints.
const Enabled = true

var (
	armedName, armedHits = parse(os.Getenv("WADI_FAILPOINT"))
	hits                 atomic.Int64
)

func parse(spec string) (string, int64) {
	name, count, ok := strings.Cut(spec, ":")
	if !ok {
		return name, 1
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 {
		panic("failpoint: WADI_FAILPOINT must be name or name:n, got " + spec)
	}
	return name, n
}

// Hit ends the process if the named step is the armed one and its turn came.
func Hit(name string) {
	if name != armedName || hits.Add(1) != armedHits {
		return
	}
	// SIGKILL to oneself is the closest thing to a power cut that a process has.
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
