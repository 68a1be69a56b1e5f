package rebuild

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/verify"
)

// ErrCatalogThere says that the store holds objects of a journal.
var ErrCatalogThere = errors.New("there is a journal, or a part of one, and it is never written over")

// ErrNoSegments says that there is nothing to rebuild a catalog from.
var ErrNoSegments = errors.New("the store holds no segment that can be read: are bucket and prefix right?")

// ErrWrittenMeanwhile says that an old node wrote to its journal while the new
// one was written. What it committed there is in no catalog.
var ErrWrittenMeanwhile = errors.New("a node of before is still running and wrote to the journal that was lost")

// Rebuilder makes a catalog from segments. It is used once.
type Rebuilder struct {
	cfg     Config
	store   *verify.Store
	journal *journal.Journal
	report  Report

	done, total atomic.Int64 // segments
}

// New returns a Rebuilder of the catalog of a shard.
func New(cfg Config, bucket objstore.Bucket, shard string) (*Rebuilder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	j, err := journal.New(journal.DefaultConfig(), bucket, shard, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	return &Rebuilder{cfg: cfg, store: verify.NewStore(cfg.Read, bucket), journal: j}, nil
}

// Progress is how many segments were read, and how many there are so far; each
// is read twice. Any goroutine may call it.
func (b *Rebuilder) Progress() (done, total int64) { return b.done.Load(), 2 * b.total.Load() }

// Run rebuilds the catalog, and writes it if write is true. The Report is of
// what would be written otherwise.
func (b *Rebuilder) Run(ctx context.Context, write bool) (Report, error) {
	if err := b.checkAbsent(ctx); err != nil {
		return b.report, err
	}
	found, err := b.collect(ctx)
	if err != nil {
		return b.report, err
	}
	if len(found.all) == 0 {
		return b.report, ErrNoSegments
	}
	state, err := b.build(ctx, found)
	if err != nil {
		return b.report, err
	}
	b.report.explain()
	if !write {
		return b.report, nil
	}
	return b.report, b.write(ctx, state)
}

// checkAbsent makes sure that nothing of a journal is there.
func (b *Rebuilder) checkAbsent(ctx context.Context) error {
	listed, err := b.journal.Inventory(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(listed.Slots) > 0:
		return fmt.Errorf("%w: %s", ErrCatalogThere, b.journal.SlotKey(listed.Slots[0]))
	case len(listed.Manifests) > 0:
		return fmt.Errorf("%w: %s", ErrCatalogThere, b.journal.ManifestKey(listed.Manifests[0]))
	case len(listed.Parts) > 0:
		return fmt.Errorf("%w: %s", ErrCatalogThere, listed.Parts[0].Key)
	}
	return nil
}

// place is where the new journal begins.
type place struct {
	slot  journal.Slot
	epoch uint64
	time  int64 // ms
}

func (b *Rebuilder) place(found *sources) place {
	now := b.cfg.Now().UnixMilli()
	at := place{time: b.journal.StoreTime()}
	for _, src := range found.all {
		at.time = max(at.time, int64(src.object.ID.Time()))
	}
	at.slot = journal.Slot(max(now, at.time, slotMin))
	at.epoch = uint64(at.slot)
	return at
}

// write stores the catalog: the snapshot first, from which a node could start
// already, then the claim in its slot, then slot 0, which only names the cluster.
func (b *Rebuilder) write(ctx context.Context, state *catalog.State) error {
	claim := journal.Entry{
		Slot: journal.Slot(b.report.Slot), Kind: journal.Claim, Epoch: b.report.Slot,
		Nonce: journal.NewNonce(), Prev: journal.NewNonce(), Time: state.Time(), Writer: "",
	}
	clusterID := state.ClusterID()
	genesis := journal.Entry{Kind: journal.Genesis, Nonce: claim.Prev, Time: state.Time(), Payload: clusterID[:]}
	if err := b.checkAbsent(ctx); err != nil { // once more: this may have taken hours
		return err
	}
	_, err := b.journal.WriteSnapshot(ctx, journal.SnapshotInfo{
		Slot: claim.Slot, Nonce: claim.Nonce, Epoch: claim.Epoch, Time: state.Time(), Level: state.Level(), Claims: []journal.Slot{claim.Slot},
	}, state.Encode)
	if err != nil {
		return err
	}
	if _, err := b.journal.Write(ctx, &claim); err != nil {
		return fmt.Errorf("write the claim of the rebuilt catalog: %w", err)
	}
	if _, err := b.journal.Write(ctx, &genesis); err != nil {
		return fmt.Errorf("write slot 0 of the rebuilt catalog: %w", err)
	}
	listed, err := b.journal.Inventory(ctx)
	if err != nil {
		return err
	}
	for _, slot := range listed.Slots {
		if slot != 0 && slot < claim.Slot {
			return fmt.Errorf("%w: %s", ErrWrittenMeanwhile, b.journal.SlotKey(slot))
		}
	}
	return nil
}

// newClusterID is that of a cluster that never was: nodes of before do not take
// those of the rebuilt one for theirs.
func newClusterID() uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[:])
	return id
}
