package localstack

import (
	"os"
	"path/filepath"
	"testing"
)

// flightsFile is the larger sample if it is there, in WADI_FLIGHTS_DIR or beside
// the repository, else the repository's own.
func flightsFile(t *testing.T) string {
	const name = "flights-20k.ndjson"
	if dir := os.Getenv("WADI_FLIGHTS_DIR"); dir != "" {
		return filepath.Join(dir, name)
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "..", "shared", "data", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return filepath.Join("testdata", "flights-5k.ndjson")
}

// TestFlights sends flights through a node that is killed several times, with
// the commands that a person would use.
func TestFlights(t *testing.T) {
	for _, c := range []struct {
		name  string
		alter func(*FlightsOptions)
	}{
		{"Kill", func(o *FlightsOptions) { o.Kills = 2 }},
		{"KillAndDeleteData", func(o *FlightsOptions) { o.Kills, o.DeleteData = 2, true }},
		{"KillProducerToo", func(o *FlightsOptions) { o.Kills, o.ProducerKills = 2, 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := FlightsOptions{
				Wadi: wadi(t), MinIO: sharedMinIO(t), Prefix: prefix(t), Dir: t.TempDir(), Input: flightsFile(t),
				Partitions: 8, BatchBytes: 4 << 10,
				Progress: func(text string) { t.Log(text) },
			}
			c.alter(&o)
			report, err := RunFlights(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if report.Kills != o.Kills {
				t.Errorf("killed %d times, not %d", report.Kills, o.Kills)
			}
			t.Logf("%d lines replayed, in %s; producer: %s", report.Replayed.Lines, report.Partitions, report.ProducerTold)
		})
	}
}

// TestLineDigest: the comparison of TestFlights sees each kind of fault.
func TestLineDigest(t *testing.T) {
	digest := func(lines ...string) *LineDigest {
		d := NewLineDigest()
		for _, line := range lines {
			d.Add([]byte(line[:1]), []byte(line))
		}
		return d
	}
	want := digest("a1", "b1", "a2", "b2")
	if err := want.Compare(digest("b1", "b2", "a1", "a2")); err != nil {
		t.Errorf("keys interleaved in another way: %v", err)
	}
	for name, got := range map[string]*LineDigest{
		"missing":   digest("a1", "b1", "a2"),
		"twice":     digest("a1", "b1", "a2", "b2", "b2"),
		"replaced":  digest("a1", "b1", "a1", "b2"),
		"reordered": digest("a2", "b1", "a1", "b2"),
		"nothing":   digest(),
	} {
		if want.Compare(got) == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}

// TestReplayedLines: offsets with a gap or a repeat, and a key in two
// partitions, are errors.
func TestReplayedLines(t *testing.T) {
	for name, lines := range map[string][]string{
		"gap":            {"0\t0\tk\tv", "0\t2\tk\tv"},
		"repeat":         {"0\t0\tk\tv", "0\t0\tk\tv"},
		"late start":     {"0\t1\tk\tv"},
		"two partitions": {"0\t0\tk\tv", "1\t0\tk\tv"},
		"not a record":   {"v"},
	} {
		r := newReplayedLines()
		var err error
		for _, line := range lines {
			err = r.add([]byte(line))
		}
		if err == nil {
			t.Errorf("%s: not seen", name)
		}
	}
	r := newReplayedLines()
	for _, line := range []string{"0\t0\tk\tv", "1\t0\tl\tv", "0\t1\tk\tv\twith tabs"} {
		if err := r.add([]byte(line)); err != nil {
			t.Error(err)
		}
	}
}
