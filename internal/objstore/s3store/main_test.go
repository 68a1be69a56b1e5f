package s3store_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/wadilog/wadi/internal/objstore/s3store"
	"github.com/wadilog/wadi/localstack"
)

// server is shared by the tests of this package; each works below a prefix of its own.
var server *localstack.MinIO

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if server, err = localstack.StartMinIO(context.Background(), ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

var prefixes atomic.Int64

func minioConfig() s3store.Config {
	cfg := s3store.DefaultConfig()
	cfg.Bucket, cfg.Endpoint, cfg.Region = server.Bucket, server.Endpoint, "us-east-1"
	cfg.AccessKey, cfg.SecretKey = server.AccessKey, server.SecretKey
	cfg.Prefix = fmt.Sprintf("test/p-%d", prefixes.Add(1))
	return cfg
}

func open(t *testing.T, cfg s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
