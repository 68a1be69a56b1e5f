package verify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
)

// ErrNoCatalog says that there is nothing of Wadi below the prefix.
var ErrNoCatalog = errors.New("the store holds neither a journal nor segments: are bucket and prefix right?")

// Summary is what a run came to.
type Summary struct {
	Whole         bool   `json:"whole"`    // nothing is damaged
	Complete      bool   `json:"complete"` // everything was read
	Slot          uint64 `json:"slot"`     // up to which the journal was followed
	End           uint64 `json:"end"`      // the newest slot of it that something tells of
	Time          int64  `json:"time"`     // ms; the journal's at that slot
	Entries       int64  `json:"entries"`  // of the journal that were checked
	Snapshots     int64  `json:"snapshots"`
	Topics        int64  `json:"topics"`
	Partitions    int64  `json:"partitions"`
	Records       int64  `json:"records"` // in the log
	Extents       int64  `json:"extents"`
	Segments      int64  `json:"segments"`       // that were checked
	SegmentBytes  int64  `json:"segment_bytes"`  // of these
	Garbage       int64  `json:"garbage"`        // objects that wait to be deleted
	GarbageBytes  int64  `json:"garbage_bytes"`  //
	Orphans       int64  `json:"orphans"`        //
	OrphanBytes   int64  `json:"orphan_bytes"`   //
	Uploads       int64  `json:"uploads"`        // that were not completed
	Leftovers     int64  `json:"leftovers"`      // objects of the journal that nothing needs
	Foreign       int64  `json:"foreign"`        // keys that are not Wadi's
	Damages       int64  `json:"damages"`        // findings
	DamagedKeys   int64  `json:"damaged_keys"`   // objects that are damaged or missing
	UnreadObjects int64  `json:"unread_objects"` // that the store did not give out
}

// Verifier checks a store.
type Verifier struct {
	cfg     Config
	store   *Store
	journal *journal.Journal
	shard   string
	logger  *slog.Logger
	report  func(Finding)

	mu      sync.Mutex
	summary Summary             // guarded by mu
	damaged map[string]struct{} // keys; guarded by mu

	noJournal bool // there is nothing of it

	bytesDone  atomic.Int64
	bytesTotal atomic.Int64
}

// New returns a Verifier of the catalog of a shard, which passes what it finds
// to report, one at a time.
func New(cfg Config, bucket objstore.Bucket, shard string, logger *slog.Logger, report func(Finding)) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// Keys that are not the journal's are findings here, and no matter for the log.
	j, err := journal.New(journal.DefaultConfig(), bucket, shard, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		cfg: cfg, store: NewStore(cfg, bucket), journal: j, shard: shard, logger: logger, report: report,
		damaged: map[string]struct{}{},
	}, nil
}

// Progress is how many bytes of segments were checked, and of how many; the
// latter is -1 until it is known. Any goroutine may call it.
func (v *Verifier) Progress() (done, total int64) {
	if total = v.bytesTotal.Load(); total == 0 {
		total = -1
	}
	return v.bytesDone.Load(), total
}

// Run checks everything once. Its error says why it could not be done to the
// end; what was found until then was reported.
func (v *Verifier) Run(ctx context.Context) (Summary, error) {
	err := v.run(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.summary.DamagedKeys = int64(len(v.damaged))
	v.summary.Whole = v.summary.Damages == 0
	v.summary.Complete = err == nil && v.summary.UnreadObjects == 0
	return v.summary, err
}

func (v *Verifier) run(ctx context.Context) error {
	h, err := v.readHistory(ctx)
	if err != nil {
		return err
	}
	if err := v.checkSegments(ctx, h); err != nil {
		return err
	}
	return v.findStrays(ctx)
}

// found reports a finding and counts it.
func (v *Verifier) found(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.summary
	switch f.Class {
	case Damage:
		s.Damages++
		v.damaged[f.Key] = struct{}{}
	case Unread:
		s.UnreadObjects++
	case Orphan:
		s.Orphans++
		s.OrphanBytes += f.Size
	case Upload:
		s.Uploads++
	case Leftover:
		s.Leftovers++
	case Foreign:
		s.Foreign++
	}
	v.report(f)
}

// count changes the summary.
func (v *Verifier) count(change func(*Summary)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.summary)
}
