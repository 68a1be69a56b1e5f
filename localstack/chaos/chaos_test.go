package chaos

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/internal/mutant"
	"github.com/wadilog/wadi/localstack"
)

var (
	seedFlag = flag.Uint64("chaos.seed", 0, "of TestChaos; by default one by chance")
	lastFlag = flag.Duration("chaos.lasts", 60*time.Second, "time with faults in TestChaos")
)

// options are those of a short run, on a machine that runs other tests too.
func options(t *testing.T, binary string) Options {
	o := Options{Seed: *seedFlag, Load: DefaultLoadConfig(), Say: t.Logf}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	o.Fleet = FleetConfig{Binary: binary, Nodes: 3, Extra: 2, Dir: t.TempDir()}
	o.Load.Rate = 2500
	return o
}

func build(t *testing.T, tags ...string) string {
	binary, err := localstack.BuildWadi(t.Context(), t.TempDir(), tags...)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// log prints a report as the command does.
func (r *Report) log(t *testing.T) {
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
}

// TestChaos is a short sitting of `make chaos`.
func TestChaos(t *testing.T) {
	o := options(t, build(t))
	o.Lasts, o.Cycles, o.FaultsMin, o.RecordsMin = *lastFlag, 12, 8, 10_000
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("seed %d: %v", o.Seed, err)
	}
	report.log(t)
	if !report.Passed() {
		t.Errorf("seed %d: broken: %v", o.Seed, report.Broken)
	}
}

// TestChaosSeesStaleAnswers runs nodes that answer from a replica without making
// it current first.
func TestChaosSeesStaleAnswers(t *testing.T) {
	o := options(t, build(t, "mutants"))
	o.Lasts = *lastFlag
	o.Fleet.Env = []string{"WADI_MUTANT=" + mutant.SkipConfirm}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("seed %d: %v", o.Seed, err)
	}
	// A node may also be so far behind that it does not find the partition of a
	// topic that it knows, and fails.
	if !slices.Contains(report.Broken, visible) && !slices.Contains(report.Broken, answers) {
		report.log(t)
		t.Errorf("seed %d: nodes may answer what is long past, and nobody noticed", o.Seed)
	}
}

// TestTargetsCount: a run that saw less than it was asked for has not passed.
func TestTargetsCount(t *testing.T) {
	b := &bench{found: NewFindings(), fleet: &fleet{}, injector: &injector{}, workload: &workload{stats: newStats()}}
	for _, o := range []Options{{FaultsMin: 1}, {RecordsMin: 1}} {
		var r Report
		b.found = NewFindings()
		if b.fill(&r, o); r.Passed() || !slices.Contains(r.Broken, "target") {
			t.Errorf("%+v: %v", o, r.Broken)
		}
	}
	var r Report
	b.found = NewFindings()
	if b.fill(&r, Options{}); !r.Passed() {
		t.Errorf("nothing was asked for: %v", r.Findings)
	}
}

func TestGapMeter(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	var g gapMeter
	g.acknowledged(0, at(-5)) // before the first round
	g.begin(2, at(0))
	g.acknowledged(0, at(100))
	g.acknowledged(1, at(250))
	g.acknowledged(0, at(300))
	if all, one := g.end(at(600)); all != 300*time.Millisecond || one != 350*time.Millisecond {
		t.Errorf("all %s, one %s", all, one)
	}
	g.begin(2, at(600))
	g.acknowledged(0, at(700))
	if all, one := g.end(at(800)); all != 100*time.Millisecond || one != 200*time.Millisecond {
		t.Errorf("second round: all %s, one %s", all, one)
	}
}
