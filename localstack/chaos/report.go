package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("seed: %d", r.Seed)
	line("faults: %d in %s", len(r.Faults), r.Took.Round(time.Second))
	count := map[string]int{}
	for _, f := range r.Faults {
		count[f.Kind.String()]++
	}
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		line("  %4d × %s", count[kind], kind)
	}
	if len(r.Recoveries) > 0 {
		line("live again after faults had stopped: %d times, after %s at most (bound %s)",
			len(r.Recoveries), ms(slices.Max(r.Recoveries)), liveWithin)
	}
	line("records: %s sent, %s acknowledged in %s requests (%s records/s), %s in the log at the end",
		humanize.Comma(r.Sent), humanize.Comma(r.Acked), humanize.Comma(r.Requests),
		humanize.Comma(int64(float64(r.Acked)/max(r.Took.Seconds(), 1e-9))), humanize.Comma(r.Logged))
	line("seen meanwhile: %s records consumed, %s acknowledgements read back from a node, %s answers for bounds, %s answers below a log start after %s trims, %s requests answered as duplicates",
		humanize.Comma(r.Consumed), humanize.Comma(r.ReadBack), humanize.Comma(r.Bounds), humanize.Comma(r.Gone),
		humanize.Comma(r.Trims), humanize.Comma(r.Repeats))
	if r.Exits > 0 {
		line("nodes that could not start and were started again: %d times", r.Exits)
	}
	line("answers to producers:")
	for _, kind := range slices.Sorted(maps.Keys(r.Answers)) {
		line("  %8d × %s", r.Answers[kind], kind)
	}
	for _, finding := range r.Findings {
		line("FOUND %s", finding)
	}
	if r.Passed() {
		line("verdict: PASS")
	} else {
		line("verdict: FAIL (%s)", strings.Join(r.Broken, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
