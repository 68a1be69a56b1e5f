package catalog

import "testing"

func TestSnapshotIsDue(t *testing.T) {
	const mib = 1 << 20
	cfg := DefaultConfig()
	for _, test := range []struct {
		name     string
		since    journalLength
		snapshot int64
		due      bool
		kept     int
	}{
		{"no snapshot yet", journalLength{1000, mib}, 0, true, 10_000},
		{"an idle cluster", journalLength{999, mib}, 0, false, 10_000},
		{"a small state", journalLength{1000, mib}, 4 << 10 * 1000, true, 10_000},
		{"a larger one", journalLength{1000, mib}, 8 << 10 * 1000, false, 10_000},
		{"the same, later", journalLength{2000, mib}, 8 << 10 * 1000, true, 10_000},
		{"a large one", journalLength{9999, mib}, 1 << 30, false, 10_000},
		{"the same, later", journalLength{10_000, mib}, 1 << 30, true, 10_000},
		{"by bytes", journalLength{16, 64 * mib}, 0, true, 0},
		{"not yet by bytes", journalLength{16, 64*mib - 1}, 0, false, 10_000},
		{"a large one by bytes", journalLength{100, 64 * mib}, 100 * mib, false, 0},
		{"the same, later", journalLength{100, 100 * mib}, 100 * mib, true, 0},
	} {
		if due := cfg.snapshotDue(test.since, test.snapshot); due != test.due {
			t.Errorf("%s: due %v", test.name, due)
		}
		if kept := cfg.keptSlots(test.since); kept != test.kept {
			t.Errorf("%s: %d slots are kept", test.name, kept)
		}
	}
	// The bound holds also for a configuration with a lower one.
	cfg.SnapshotSlots = 3
	if !cfg.snapshotDue(journalLength{3, 1}, 0) || cfg.snapshotDue(journalLength{2, 1}, 0) {
		t.Error("SnapshotSlots below SnapshotSlotsMin does not hold")
	}
}
