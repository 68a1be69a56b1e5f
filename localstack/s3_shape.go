package localstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// S3Shape is a running s3-shape: a proxy that answers as slowly as S3 does.
type S3Shape struct {
	Endpoint string // http://127.0.0.1:port

	process *process
}

// StartS3Shape runs the binary of localstack/cmd/s3-shape in front of the store at
// endpoint, with further arguments of that command, and waits until it listens.
func StartS3Shape(ctx context.Context, binary, endpoint string, args ...string) (*S3Shape, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, append([]string{"--listen", address, "--upstream", endpoint}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	s := &S3Shape{Endpoint: "http://" + address}
	if s.process, err = startProcess(cmd); err != nil {
		return nil, fmt.Errorf("start s3-shape: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-tick.C:
		case <-s.process.done:
			return nil, fmt.Errorf("s3-shape ended at its start: %w", s.process.err)
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("s3-shape does not listen: %w (%w)", err, ctx.Err()), s.Stop())
		}
	}
}

// Stop ends it; nil if it did not run.
func (s *S3Shape) Stop() error { return s.process.stop() }
