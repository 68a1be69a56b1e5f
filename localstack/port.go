package localstack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports for servers are chosen below those that systems give to outgoing
// connections (from 32768 on Linux, from 49152 elsewhere). A node that was
// killed comes back on its port, which a connection of somebody else could have
// taken meanwhile if it were one of those.
const (
	portMin = 20_000
	portEnd = 32_768
	// portAttemptsMax bounds the search for one that nobody listens on.
	portAttemptsMax = 200
)

// freePort returns a port of 127.0.0.1 that nobody listens on at the moment.
func freePort() (int, error) {
	for range portAttemptsMax {
		port := portMin + rand.IntN(portEnd-portMin)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("no free port found between %d and %d", portMin, portEnd)
}
