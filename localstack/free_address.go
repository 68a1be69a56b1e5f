package localstack

import "fmt"

// FreeAddress returns a host:port of 127.0.0.1 that nobody listens on at the
// moment, and that no outgoing connection will take.
func FreeAddress() (string, error) {
	port, err := freePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
