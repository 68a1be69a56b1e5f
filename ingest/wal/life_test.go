package wal_test

import (
	"context"
	"flag"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/wadilog/wadi/ingest/wal"
)

func TestMain(m *testing.M) {
	// Failing on purpose must leave no file in the tree; a failure prints its
	// seed anyway.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// smallConfig makes files so small that every test rotates.
func smallConfig() wal.Config {
	return wal.Config{Dir: "data/wal", FileBytesMax: 2048, BytesMax: 1 << 20, BufferBytesMax: 1024, BufferFramesMax: 100}
}

func nodeID(n int) uuid.UUID {
	id := uuid.UUID{0: 0xaa, 6: 0x40, 8: 0x80}
	id[14], id[15] = byte(n>>8), byte(n)
	return id
}

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// life is a running log.
type life struct {
	*wal.Log
	registry *prometheus.Registry
	cancel   context.CancelFunc
	ended    chan struct{}
	err      error // of Run, once ended
}

func create(cfg wal.Config, fs wal.FS, node uuid.UUID) (*life, error) {
	registry := prometheus.NewRegistry()
	log, err := wal.Create(cfg, node, fs, slog.New(slog.DiscardHandler), registry)
	if err != nil {
		return nil, err
	}
	return &life{Log: log, registry: registry}, nil
}

func (l *life) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.ended = make(chan struct{})
	go func() {
		defer close(l.ended)
		l.err = l.Run(ctx)
	}()
}

// stop ends Run and returns its error.
func (l *life) stop() error {
	if l.cancel == nil {
		return nil
	}
	l.cancel()
	<-l.ended
	return l.err
}

func mustStart(t tester, cfg wal.Config, fs wal.FS, node uuid.UUID) *life {
	t.Helper()
	l := mustCreate(t, cfg, fs, node)
	l.start()
	return l
}

func mustCreate(t tester, cfg wal.Config, fs wal.FS, node uuid.UUID) *life {
	t.Helper()
	l, err := create(cfg, fs, node)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *life) mustStopAndClose(t tester) {
	t.Helper()
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func (l *life) mustAppendAndWait(t tester, number uint64, payload ...[]byte) {
	t.Helper()
	ticket, err := l.Append(number, payload...)
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (l *life) metric(t tester, name string) float64 {
	t.Helper()
	families, err := l.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// payloadOf makes the payload of a frame out of its number, so that a wrong
// one is seen.
func payloadOf(node uuid.UUID, number uint64, length int) []byte {
	rng := rand.New(rand.NewPCG(number, uint64(node[15])))
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
