package journal

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/wadilog/wadi/internal/objstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a journal of its own over bucket, as a node opens it.
func open(t *testing.T, bucket objstore.Bucket, change ...func(*Config)) *Journal {
	t.Helper()
	cfg := DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	j, err := New(cfg, bucket, "000", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// inBubble runs a subtest in virtual time.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// chain makes entries that follow one another.
type chain struct {
	writer string
	epoch  uint64
	next   Slot
	prev   Nonce
	claims []Slot
}

func (c *chain) entry(kind Kind, payload string) *Entry {
	epoch := c.epoch
	if kind == Claim {
		epoch++
	}
	return &Entry{
		Slot: c.next, Kind: kind, Epoch: epoch, Nonce: NewNonce(), Prev: c.prev, Time: 1_700_000_000_000,
		Writer: c.writer, Payload: []byte(payload),
	}
}

// wrote moves the chain behind e.
func (c *chain) wrote(e *Entry) {
	if e.Kind == Claim {
		c.claims = append(c.claims, e.Slot)
	}
	c.epoch, c.next, c.prev = e.Epoch, e.Slot+1, e.Nonce
}

// info describes the snapshot after the chain's last entry.
func (c *chain) info() SnapshotInfo {
	return SnapshotInfo{Slot: c.next - 1, Nonce: c.prev, Epoch: c.epoch, Time: 5, Level: 1, Claims: append([]Slot(nil), c.claims...)}
}

// add writes an entry that must be committed.
func (c *chain) add(t *testing.T, j *Journal, kind Kind, payload string) *Entry {
	t.Helper()
	e := c.entry(kind, payload)
	write := j.Write
	if kind == Claim {
		write = j.WriteClaim
	}
	if _, err := write(t.Context(), e); err != nil {
		t.Fatalf("write %v: %v", kind, err)
	}
	c.wrote(e)
	return e
}

// snapshot writes a snapshot of the chain as it is.
func (c *chain) snapshot(t *testing.T, j *Journal, content string) SnapshotInfo {
	t.Helper()
	info, err := j.WriteSnapshot(t.Context(), c.info(), oneChunk(content))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func oneChunk(content string) func(yield func([]byte) error) error {
	return func(yield func([]byte) error) error { return yield([]byte(content)) }
}

// begin starts a chain with genesis and a claim.
func begin(t *testing.T, j *Journal) *chain {
	t.Helper()
	c := &chain{writer: "127.0.0.1:1"}
	c.add(t, j, Genesis, "cluster")
	c.add(t, j, Claim, "")
	return c
}
