package main

import "fmt"

// unit is how a figure is shown; figures are kept in bytes and seconds.
type unit struct {
	name string
	size float64
}

var (
	megabytesPerSecond = unit{"MB/s", 1e6}
	mebibytes          = unit{"MiB", 1 << 20}
	milliseconds       = unit{"ms", 1e-3}
	seconds            = unit{"s", 1}
	perSecond          = unit{"/s", 1}
	perGiB             = unit{"s/GiB", 1}
	putsPerGiB         = unit{"PUTs/GiB", 1}
	dollarsPerMonth    = unit{"$/month", 1}
	percent            = unit{"%", 0.01}
	count              = unit{"", 1}
)

// row is a line of the table.
type row struct {
	title   string
	figure  string
	unit    unit
	through string // the raw figure that it is divided by, if any
	load    string // whose costs to the node are shown beside it, if any
	goal    goal
}

// goal says what a row should come to, and whether it does. The goals are those of the design.
type goal func(f figures, r row) (text string, met bool)

func ratioAtLeast(bound float64) goal {
	return func(f figures, r row) (string, bool) {
		return fmt.Sprintf("≥ %g × raw", bound), f.ratio(r.figure, r.through) >= bound
	}
}

func atLeast(bound float64) goal {
	return atLeastOf("", func(figures) float64 { return bound })
}

// atLeastOf has a bound that depends on other figures.
func atLeastOf(why string, bound func(figures) float64) goal {
	return func(f figures, r row) (string, bool) {
		least := bound(f)
		return "≥ " + shown(least, r.unit, why), f.median(r.figure) >= least
	}
}

func atMost(bound float64) goal {
	return atMostOf("", func(figures) float64 { return bound })
}

// atMostOf has a bound that depends on other figures.
func atMostOf(why string, bound func(figures) float64) goal {
	return func(f figures, r row) (string, bool) {
		most := bound(f)
		return "≤ " + shown(most, r.unit, why), f.median(r.figure) <= most
	}
}

// shown is a bound as it stands in the table.
func shown(bound float64, u unit, why string) string {
	value := bound / u.size
	if why != "" {
		why = " (" + why + ")"
	}
	return short(&value) + why
}

func memoryLimit(f figures) float64 { return f.median("memory_limit.bytes") }

// ackBound is the goal for an idle acknowledgement: a PUT of a small segment, the
// journal's put-if-absent, and 5 ms.
func ackBound(f figures) float64 {
	return f.median("raw.small_put.p50_seconds") + f.median("raw.put_if_absent.p50_seconds") + 0.005
}

// rawRows are measured in every round.
var rawRows = []row{
	{title: "raw PUT, 2 KiB, p50", figure: "raw.small_put.p50_seconds", unit: milliseconds},
	{title: "raw PUT, 2 KiB, p99", figure: "raw.small_put.p99_seconds", unit: milliseconds},
	{title: "raw put-if-absent, 2 KiB, p50", figure: "raw.put_if_absent.p50_seconds", unit: milliseconds},
	{title: "raw put-if-absent, 2 KiB, p99", figure: "raw.put_if_absent.p99_seconds", unit: milliseconds},
	{title: "raw GET, 2 KiB, p50", figure: "raw.small_get.p50_seconds", unit: milliseconds},
	{title: "raw GET, 2 KiB, p99", figure: "raw.small_get.p99_seconds", unit: milliseconds},
	{title: "fdatasync, 64 KiB, p50", figure: "raw.fdatasync.p50_seconds", unit: milliseconds},
	{title: "fdatasync, 64 KiB, p99", figure: "raw.fdatasync.p99_seconds", unit: milliseconds},
}

// nodeRows are those of the part "node".
var nodeRows = []row{
	{title: "raw PUT, 8 MiB, 4 in flight", figure: "raw.put.bytes_per_second", unit: megabytesPerSecond},
	{title: "raw GET, 8 MiB, 4 in flight", figure: "raw.get.bytes_per_second", unit: megabytesPerSecond},
	{title: "produce, record batches", figure: "produce.recordbatch.bytes_per_second", unit: megabytesPerSecond, through: "raw.put.bytes_per_second", load: "produce.recordbatch", goal: ratioAtLeast(0.8)},
	{title: "produce, NDJSON", figure: "produce.ndjson.bytes_per_second", unit: megabytesPerSecond, through: "raw.put.bytes_per_second", load: "produce.ndjson", goal: ratioAtLeast(0.5)},
	{title: "produce, JSON", figure: "produce.json.bytes_per_second", unit: megabytesPerSecond, through: "raw.put.bytes_per_second", load: "produce.json", goal: ratioAtLeast(0.5)},
	{title: "  node CPU, record batches", figure: "produce.recordbatch.cpu_per_gib", unit: perGiB, goal: atMost(1.5)},
	{title: "  store PUTs, record batches", figure: "produce.recordbatch.puts_per_gib", unit: putsPerGiB, goal: atMost(160)},
	{title: "  peak memory, record batches", figure: "produce.recordbatch.peak_bytes", unit: mebibytes, goal: atMostOf("--memory-limit", memoryLimit)},
	{title: "  peak memory, JSON", figure: "produce.json.peak_bytes", unit: mebibytes, goal: atMostOf("--memory-limit", memoryLimit)},
	{title: "single records, 64 connections", figure: "singles.requests_per_second", unit: perSecond, load: "singles", goal: atLeast(10_000)},
	{title: "one producer in lockstep", figure: "lockstep.requests_per_second", unit: perSecond, goal: atLeast(100)},
	{title: "acks=all when idle, p50", figure: "acks-all.idle.p50_seconds", unit: milliseconds, goal: atMostOf("PUT + put-if-absent + 5", ackBound)},
	{title: "acks=all when idle, p99", figure: "acks-all.idle.p99_seconds", unit: milliseconds, goal: atMostOf("3 × that", func(f figures) float64 { return 3 * ackBound(f) })},
	{title: "acks=1, p50", figure: "acks-1.p50_seconds", unit: milliseconds, goal: atMostOf("3 × fdatasync", func(f figures) float64 { return 3 * f.median("raw.fdatasync.p50_seconds") })},
	{title: "acks=1, p99", figure: "acks-1.p99_seconds", unit: milliseconds},
	{title: "acks=1 beside uploads, p99", figure: "acks-1.uploads.p99_seconds", unit: milliseconds, goal: atMostOf("2 × without", func(f figures) float64 { return 2 * f.median("acks-1.p99_seconds") })},

	{title: "replay, cold cache", figure: "replay.cold.bytes_per_second", unit: megabytesPerSecond, through: "raw.get.bytes_per_second", load: "replay.cold", goal: ratioAtLeast(0.5)},
	{title: "replay, warm cache", figure: "replay.warm.bytes_per_second", unit: megabytesPerSecond, through: "raw.get.bytes_per_second", load: "replay.warm", goal: ratioAtLeast(1)},
	{title: "  read from the store per byte", figure: "replay.cold.store_bytes_read", unit: count},
	{title: "  node CPU, cold cache", figure: "replay.cold.cpu_per_gib", unit: perGiB, goal: atMost(0.7)},

	{title: "live long poll, p50", figure: "live.alone.p50_seconds", unit: milliseconds},
	{title: "live long poll, p99", figure: "live.alone.p99_seconds", unit: milliseconds},
	{title: "  beside 10 cold replays, p50", figure: "live.beside.p50_seconds", unit: milliseconds},
	{title: "  beside 10 cold replays, p99", figure: "live.beside.p99_seconds", unit: milliseconds, goal: atMostOf("2 × without", func(f figures) float64 { return 2 * f.median("live.alone.p99_seconds") })},
	{title: "  the 10 replays", figure: "live.replays.bytes_per_second", unit: megabytesPerSecond, through: "raw.get.bytes_per_second", load: "live.replays"},

	{title: "idle node, memory", figure: "idle.resident_bytes", unit: mebibytes, goal: atMost(64 << 20)},
	{title: "idle node, CPU", figure: "idle.cpu", unit: percent, goal: atMost(0.01)},
	{title: "idle node, store requests", figure: "idle.store_requests_per_second", unit: perSecond, goal: atMost(1)},
	{title: "idle node, requests at list price", figure: "idle.dollars_per_month", unit: dollarsPerMonth},
	{title: "start-up, new log", figure: "start.empty.seconds", unit: seconds},
	{title: "start-up, after a round", figure: "start.round.seconds", unit: seconds},
	{title: "start-up, 10,000 slots (extrapolated)", figure: "start.goal.seconds", unit: seconds, goal: atMost(5)},
	{title: "  journal slots after a round", figure: "start.round.slots", unit: count},
}
