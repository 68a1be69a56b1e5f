package localstack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// TestMinIOLife takes a server through all that an outage test does to it. What
// was put must be there after each.
func TestMinIOLife(t *testing.T) {
	m, err := StartMinIO(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	client, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("still there")
	if _, err := client.PutObject(t.Context(), m.Bucket, "key", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context) error {
		o, err := client.GetObject(ctx, m.Bucket, "key", minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer o.Close()
		got, err := io.ReadAll(o)
		if err == nil && !bytes.Equal(got, body) {
			return errors.New("another body")
		}
		return err
	}

	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := get(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("get from a paused server: %v", err)
	}
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context()); err != nil {
		t.Fatalf("get after a pause: %v", err)
	}

	endpoint := m.Endpoint
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := get(t.Context()); err == nil {
		t.Fatal("get from a killed server succeeded")
	}
	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.Endpoint != endpoint {
		t.Fatalf("endpoint %s after a restart, %s before", m.Endpoint, endpoint)
	}
	if err := get(t.Context()); err != nil {
		t.Fatalf("get after kill and restart: %v", err)
	}

	pid := m.PID()
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("process %d after Stop: %v", pid, err)
	}
	if _, err := os.Stat(m.dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("temporary folder after Stop: %v", err)
	}
}

// TestMinIOKeepsItsFolder: a later start in one folder finds what an earlier left.
func TestMinIOKeepsItsFolder(t *testing.T) {
	dir := t.TempDir()
	var secrets []string
	for start := range 2 {
		m, err := StartMinIO(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, m.SecretKey)
		client, err := m.Client()
		if err != nil {
			t.Fatal(err)
		}
		if start == 0 {
			_, err = client.PutObject(t.Context(), m.Bucket, "key", bytes.NewReader(nil), 0, minio.PutObjectOptions{})
		} else {
			_, err = client.StatObject(t.Context(), m.Bucket, "key", minio.StatObjectOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := MakeBucket(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if err := m.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if secrets[0] != secrets[1] || len(secrets[0]) < 20 {
		t.Fatal("the secret key has changed")
	}
}

func TestStoreURL(t *testing.T) {
	m := &MinIO{Endpoint: "http://127.0.0.1:9000", Bucket: "wadi"}
	for prefix, want := range map[string]string{
		"":          "s3://wadi?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=us-east-1",
		"some/path": "s3://wadi/some/path?endpoint=http%3A%2F%2F127.0.0.1%3A9000&region=us-east-1",
	} {
		if got := m.StoreURL(prefix); got != want {
			t.Errorf("URL of %q is %s, want %s", prefix, got, want)
		}
	}
}

// TestStartFails: a server that cannot start ends with an error that quotes its log.
func TestStartFails(t *testing.T) {
	t.Setenv("WADI_TOOLS", "")
	m := &MinIO{binary: "/bin/false", dir: t.TempDir(), Bucket: "wadi", AccessKey: "wadi", SecretKey: "secret12"}
	if err := m.startOnFreePort(t.Context()); !errors.Is(err, errEnded) {
		t.Fatalf("got %v", err)
	}
}
