//go:build versitygw

package s3store_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/s3store"
	"github.com/wadilog/wadi/internal/objstore/storetest"
	"github.com/wadilog/wadi/localstack"
)

// These tests ask for -tags versitygw, since they build two versions of another
// S3-compatible store, which takes minutes. It wants a file system with extended
// attributes.

// TestProbeTellsVersionsApart: conditional writes of versitygw 1.7.0 can have
// several winners, those of 1.8.0 have one.
func TestProbeTellsVersionsApart(t *testing.T) {
	if err := objstore.Probe(t.Context(), open(t, startVersity(t, "v1.8.0"))); err != nil {
		t.Errorf("1.8.0: %v", err)
	}
	err := objstore.Probe(t.Context(), open(t, startVersity(t, "v1.7.0")))
	var refused *objstore.ProbeError
	if !errors.As(err, &refused) {
		t.Errorf("1.7.0: got %v, want a refusal", err)
	}
	t.Log("1.7.0:", err)
}

func TestConformanceOnVersity(t *testing.T) {
	cfg := startVersity(t, "v1.8.0")
	storetest.Run(t, storetest.Features{}, func(t *testing.T) objstore.Bucket {
		cfg := cfg
		cfg.Prefix = fmt.Sprintf("test/p-%d", prefixes.Add(1))
		return open(t, cfg)
	})
}

// startVersity runs a version on a folder until the test ends.
func startVersity(t *testing.T, version string) s3store.Config {
	t.Helper()
	binary, err := localstack.Install(t.Context(), localstack.Tool{Package: "github.com/versity/versitygw/cmd/versitygw", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "wadi"), 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, "--port", address, "--quiet", "posix", data)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=wadi", "ROOT_SECRET_KEY=secret12")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", version, log.Bytes())
		}
	})
	cfg := s3store.DefaultConfig()
	cfg.Bucket, cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = "wadi", "http://"+address, "wadi", "secret12"

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		_, err := open(t, cfg).List(t.Context(), "", "", 1)
		if err == nil {
			return cfg
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not answer: %v", version, err)
		}
	}
}
