package localstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// readyTimeout bounds the start of MinIO once it is installed.
	readyTimeout = 60 * time.Second
	// startAttemptsMax bounds the tries to find a port that is still free when
	// MinIO gets to it.
	startAttemptsMax = 5
	// logTailBytes is how much of MinIO's log goes into an error.
	logTailBytes = 2000

	region = "us-east-1"
	bucket = "wadi"
)

// errEnded says that MinIO ended before it was ready.
var errEnded = errors.New("minio ended at its start")

// MinIO is a server with one bucket. Its methods are not for concurrent use.
type MinIO struct {
	Endpoint  string // http://127.0.0.1:port
	Bucket    string
	AccessKey string
	SecretKey string

	binary  string
	dir     string
	ownsDir bool // dir is temporary and goes with the server
	process *process
}

// StartMinIO installs MinIO if need be, starts it with its data, log and certificates
// below dir, makes a bucket and returns when it can be used. An empty dir means
// a temporary one that Stop removes.
func StartMinIO(ctx context.Context, dir string) (*MinIO, error) {
	binary, err := Install(ctx, MinIOTool())
	if err != nil {
		return nil, err
	}
	m := &MinIO{Bucket: bucket, AccessKey: "wadi", binary: binary, dir: dir}
	if dir == "" {
		m.ownsDir = true
		if m.dir, err = os.MkdirTemp("", "wadi-minio-"); err != nil {
			return nil, err
		}
	}
	if m.dir, err = filepath.Abs(m.dir); err != nil {
		return nil, err
	}
	if m.SecretKey, err = secretOf(m.dir); err == nil {
		err = m.startOnFreePort(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start minio: %w", err), m.removeDir())
	}
	return m, nil
}

// secretOf returns the secret key of a server's folder, which is made once:
// MinIO encrypts some of its own data with it.
func secretOf(dir string) (string, error) {
	name := filepath.Join(dir, "secret-key")
	known, err := os.ReadFile(name)
	if err == nil {
		return string(known), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	secret := rand.Text()
	return secret, os.WriteFile(name, []byte(secret), 0o600)
}

func (m *MinIO) startOnFreePort(ctx context.Context) error {
	var err error
	for range startAttemptsMax {
		var port int
		if port, err = freePort(); err != nil {
			return err
		}
		m.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
		if err = m.start(ctx); !errors.Is(err, errEnded) {
			break
		}
	}
	return err
}

// start runs the server at its endpoint and waits until it takes requests.
func (m *MinIO) start(ctx context.Context) error {
	for _, name := range []string{"data", "home", "certs"} {
		if err := os.MkdirAll(filepath.Join(m.dir, name), 0o755); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(m.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	endpoint, err := url.Parse(m.Endpoint)
	if err != nil {
		return err
	}
	cmd := exec.Command(m.binary, "server", "--quiet", "--address", endpoint.Host,
		"--certs-dir", filepath.Join(m.dir, "certs"), filepath.Join(m.dir, "data"))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=" + filepath.Join(m.dir, "home"),
		"MINIO_ROOT_USER=" + m.AccessKey, "MINIO_ROOT_PASSWORD=" + m.SecretKey, "MINIO_REGION=" + region,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1", // the last one allows the disk of the system
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = m.dir
	if m.process, err = startProcess(cmd); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := m.waitUntilReady(ready); err != nil {
		return errors.Join(fmt.Errorf("%w; end of its log:\n%s", err, m.logTail()), m.process.kill())
	}
	return nil
}

// waitUntilReady polls the health check, then makes the bucket, which tells that
// MinIO has opened its disks too.
func (m *MinIO) waitUntilReady(ctx context.Context) error {
	client, err := m.Client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := m.healthy(ctx)
		if last == nil {
			last = makeBucket(ctx, client, m.Bucket)
		}
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.process.done:
			return fmt.Errorf("%w: %w", errEnded, m.process.err)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (%w)", last, ctx.Err())
		}
	}
}

func (m *MinIO) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Endpoint+"/minio/health/live", nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health check: %s", response.Status)
	}
	return nil
}

// MakeBucket makes a bucket unless it is there, as soon as the server at endpoint
// answers, for those who run one elsewhere.
func MakeBucket(ctx context.Context, m *MinIO) error {
	client, err := m.Client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		last := makeBucket(ctx, client, m.Bucket)
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("make bucket %s at %s: %w (%w)", m.Bucket, m.Endpoint, last, ctx.Err())
		}
	}
}

func makeBucket(ctx context.Context, client *minio.Client, name string) error {
	exists, err := client.BucketExists(ctx, name)
	if err != nil || exists {
		return err
	}
	return client.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: region})
}

// Client returns a client of another make than the one of the store driver,
// so that a test can look at the bucket with other eyes.
func (m *MinIO) Client() (*minio.Client, error) {
	endpoint, err := url.Parse(m.Endpoint)
	if err != nil {
		return nil, err
	}
	return minio.New(endpoint.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(m.AccessKey, m.SecretKey, ""),
		Region:     region,
		MaxRetries: 1,
	})
}

// StoreURL is the --store of a prefix in the bucket, which may be empty.
func (m *MinIO) StoreURL(prefix string) string { return m.StoreURLAt(m.Endpoint, prefix) }

// StoreURLAt is a StoreURL by way of something in front of the server.
func (m *MinIO) StoreURLAt(endpoint, prefix string) string {
	u := url.URL{Scheme: "s3", Host: m.Bucket, Path: prefix}
	if prefix != "" {
		u.Path = "/" + prefix
	}
	u.RawQuery = url.Values{"endpoint": {endpoint}, "region": {region}}.Encode()
	return u.String()
}

// Env holds the credentials in the variables that the SDK's chain looks at.
func (m *MinIO) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + m.AccessKey, "AWS_SECRET_ACCESS_KEY=" + m.SecretKey}
}

// PID is the server's process.
func (m *MinIO) PID() int { return m.process.cmd.Process.Pid }

// Stop ends the server in good order.
func (m *MinIO) Stop() error { return errors.Join(m.process.stop(), m.removeDir()) }

// Kill ends the server as a power cut would. Restart brings it back.
func (m *MinIO) Kill() error { return m.process.kill() }

// Pause freezes the server: connections stay open and nothing is answered.
func (m *MinIO) Pause() error { return m.process.pause() }

// Resume ends a Pause.
func (m *MinIO) Resume() error { return m.process.signal(syscall.SIGCONT) }

// Restart starts a server that was killed or still runs, on the same port and data.
func (m *MinIO) Restart(ctx context.Context) error {
	if err := m.process.stop(); err != nil {
		return err
	}
	return m.start(ctx)
}

func (m *MinIO) removeDir() error {
	if !m.ownsDir {
		return nil
	}
	return os.RemoveAll(m.dir)
}

func (m *MinIO) logFile() string { return filepath.Join(m.dir, "minio.log") }

func (m *MinIO) logTail() []byte {
	log, err := os.ReadFile(m.logFile())
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(log[max(0, len(log)-logTailBytes):])
}
