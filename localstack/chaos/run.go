package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// calmEvery so many cycles faults stop until the system is live again (P11).
	calmEvery = 20
	// progressEvery is how often a run tells how far it is.
	progressEvery = 15 * time.Second
	// topicName is the topic of a run.
	topicName = "chaos"
	// ledgerName is the ledger's file in the folder of a run.
	ledgerName = "ledger"
)

// Options say how to run chaos.
type Options struct {
	Seed   uint64
	Fleet  FleetConfig // its Dir must exist
	Load   LoadConfig
	Cycles int           // at least; each has a fault or two
	Lasts  time.Duration // at least

	// FaultsMin and RecordsMin are what a run must have seen to pass.
	FaultsMin  int
	RecordsMin int64

	Say func(format string, args ...any) // progress; never nil
}

// Report is what came of a run.
type Report struct {
	Seed       uint64
	Took       time.Duration // of the load
	Faults     []FaultReport
	Recoveries []time.Duration // each until all was live again, by P11
	Sent       int64           // records
	Acked      int64           // records
	Requests   int64           // acknowledged
	Logged     int64           // records in the log at the end
	Repeats    int64           // requests answered as duplicates
	Consumed   int64           // records
	ReadBack   int64           // acknowledgements confirmed by a node right after
	Bounds     int64           // answers to questions for bounds
	Gone       int64           // answers of 410 below a log start
	Trims      int64
	Exits      int64            // of nodes at their start, by themselves
	Answers    map[string]int64 // to producers, by kind of producer and answer
	Findings   []string
	Broken     []string // promises
}

// Passed tells whether nothing was found.
func (r *Report) Passed() bool { return len(r.Broken) == 0 }

// bench is a fleet with a workload on it.
type bench struct {
	found    *Findings
	fleet    *fleet
	ledger   *Ledger
	workload *workload
	injector *injector

	group      errgroup.Group // of the ledger and the workload
	stopLedger context.CancelFunc
	stopLoad   context.CancelFunc
	loadDone   chan struct{}
	loadErr    error // to be read after loadDone
	ledgerFile string
}

// startBench starts a fleet, and a workload that is ready to run on it.
func startBench(ctx context.Context, o Options) (*bench, error) {
	found := NewFindings()
	found.Say = o.Say
	b := &bench{found: found, ledgerFile: filepath.Join(o.Fleet.Dir, ledgerName), loadDone: make(chan struct{})}
	var err error
	if b.ledger, err = NewLedger(b.ledgerFile); err != nil {
		return nil, err
	}
	var ledgerCtx context.Context
	ledgerCtx, b.stopLedger = context.WithCancel(context.WithoutCancel(ctx))
	b.group.Go(func() error { return b.ledger.Run(ledgerCtx) })
	if b.fleet, err = startFleet(ctx, o.Fleet, found); err != nil {
		b.stopLedger()
		return nil, errors.Join(err, b.group.Wait())
	}
	run := fmt.Sprintf("%016x", o.Seed)
	b.workload = &workload{
		LoadConfig: o.Load, topic: topic{run: run, name: topicName, partitions: o.Load.Partitions}, seed: o.Seed,
		balancer: &client{name: "balancer", url: b.fleet.cluster.URL, http: &http.Client{Transport: newTransport()}},
		cluster:  b.fleet, ledger: b.ledger, found: found,
		observed: NewObserved(o.Load.Partitions, found), bounds: NewBounds(o.Load.Partitions, found), stats: newStats(),
	}
	b.injector = &injector{fleet: b.fleet, ledger: b.ledger, began: time.Now(), say: o.Say, busy: map[*member]bool{}}
	err = b.ledger.Sync(ctx, event{Type: runEvent, Version: ledgerVersion, Run: run, Partitions: o.Load.Partitions})
	if err == nil {
		err = b.workload.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.end(b.fleet.kill))
	}
	return b, nil
}

// begin sets the workload to work.
func (b *bench) begin(ctx context.Context) {
	var loadCtx context.Context
	loadCtx, b.stopLoad = context.WithCancel(ctx)
	b.fleet.watchAll(loadCtx, b.workload.watch)
	b.group.Go(func() error {
		defer close(b.loadDone)
		b.loadErr = b.workload.run(loadCtx)
		return b.loadErr
	})
}

// finish lets producers end, reads everything back and checks it.
func (b *bench) finish(ctx context.Context) (logged int64, h *History, err error) {
	w := b.workload
	ends := make([]int64, w.Partitions)
	w.finish()
	_, err = b.fleet.await(ctx, func(context.Context) error {
		for _, p := range w.producers {
			if !p.done.Load() {
				return fmt.Errorf("producer %d (%s) does not get its last request settled", p.number, p.kind)
			}
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	for p := range ends {
		ends[p] = w.bounds.Floor(int32(p), time.Now()).End
	}
	if _, err := b.fleet.await(ctx, func(context.Context) error { return w.consumersBehind(ends) }); err != nil {
		return 0, nil, err
	}
	b.stopLoad()
	<-b.loadDone
	if b.loadErr != nil {
		return 0, nil, b.loadErr
	}
	b.stopLedger()
	if err := b.group.Wait(); err != nil {
		return 0, nil, err
	}
	if h, err = b.readLedger(); err != nil {
		return 0, nil, err
	}
	logged, err = w.audit(ctx, b.fleet, h)
	return logged, h, err
}

func (b *bench) readLedger() (*History, error) {
	file, err := os.Open(b.ledgerFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ReadLedger(file)
}

// end ends everything, the fleet by stop or kill.
func (b *bench) end(fleet func() error) error {
	if b.stopLoad != nil {
		b.stopLoad()
	}
	b.stopLedger()
	err := errors.Join(b.group.Wait(), fleet())
	b.workload.balancer.http.CloseIdleConnections()
	return err
}

// Run runs chaos: a load, faults drawn from the seed, and at the end a check of all
// that the load knows. The first finding ends the faults, so that what led to it is
// not buried. What is wrong with the system is in the report; the error is one of
// the harness, or that ctx ended, and the report then tells what was found so far.
func Run(ctx context.Context, o Options) (*Report, error) {
	b, err := startBench(ctx, o)
	if err != nil {
		return nil, err
	}
	return b.play(ctx, o, func(ctx context.Context, r *Report) error {
		if err := b.calm(ctx, r); err != nil {
			return err
		}
		schedule := NewSchedule(o.Seed)
		for cycle := 1; (cycle <= o.Cycles || time.Since(b.injector.began) < o.Lasts) && b.found.Count() == 0; cycle++ {
			if err := b.injector.step(ctx, schedule.Next()); err != nil {
				return err
			}
			if cycle%calmEvery == 0 {
				if err := b.calm(ctx, r); err != nil {
					return err
				}
			}
		}
		return b.calm(ctx, r)
	})
}

// play lets the load run beside a script, checks everything at its end, and ends
// the bench.
func (b *bench) play(ctx context.Context, o Options, script func(context.Context, *Report) error) (report *Report, err error) {
	ended := false
	defer func() {
		if !ended {
			err = errors.Join(err, b.end(b.fleet.kill))
			b.fill(report, o)
		}
	}()
	report = &Report{Seed: o.Seed}
	ctx, cancel := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel(nil)
	b.begin(ctx)
	beside.Go(func() { b.tell(ctx, o.Say) })
	beside.Go(func() {
		select {
		case <-b.loadDone:
			if b.loadErr != nil {
				cancel(fmt.Errorf("load: %w", b.loadErr))
			}
		case <-ctx.Done():
		}
	})
	if err := script(ctx, report); err != nil {
		return report, errors.Join(err, context.Cause(ctx))
	}
	report.Took = time.Since(b.injector.began)
	logged, h, err := b.finish(ctx)
	if err != nil {
		return report, err
	}
	report.Logged = logged
	for _, n := range h.sent() {
		report.Sent += n
	}
	ended = true
	cancel(nil)
	if err := b.end(b.fleet.stop); err != nil {
		b.found.Add(live, "end: %v", err)
	}
	b.fill(report, o)
	return report, nil
}

// calm waits until the system is live after faults have stopped.
func (b *bench) calm(ctx context.Context, report *Report) error {
	r, ok, err := b.workload.awaitLife(ctx, b.fleet)
	if err != nil || !ok {
		return err
	}
	report.Recoveries = append(report.Recoveries, r.total())
	b.injector.say("%7.1fs  calm: nodes ready after %s, every producer acknowledged after %s, consumers there after %s",
		time.Since(b.injector.began).Seconds(), ms(r.ready), ms(r.acked), ms(r.consumed))
	return nil
}

// tell says now and then how far the load is.
func (b *bench) tell(ctx context.Context, say func(string, ...any)) {
	for pause(ctx, progressEvery) == nil {
		say("%7.1fs  %d records acknowledged, %d consumed, %d findings", time.Since(b.injector.began).Seconds(),
			b.workload.stats.records.Load(), b.workload.stats.fetched.Load(), b.found.Count())
	}
}

// fill completes a report.
func (b *bench) fill(r *Report, o Options) {
	s := b.workload.stats
	r.Faults = b.injector.faults
	if r.Took == 0 {
		r.Took = time.Since(b.injector.began)
	}
	r.Acked, r.Requests, r.Repeats = s.records.Load(), s.requests.Load(), s.repeats.Load()
	r.Consumed, r.ReadBack, r.Bounds = s.fetched.Load(), s.readBack.Load(), s.bounds.Load()
	r.Gone, r.Trims, r.Answers = s.gone.Load(), s.trims.Load(), s.answers
	r.Exits = b.fleet.exits.Load()
	if broken := b.found.Count() > 0; len(r.Faults) < o.FaultsMin && !broken { // a finding ends a run early
		b.found.Add("target", "%d faults, and at least %d were asked for", len(r.Faults), o.FaultsMin)
	}
	if broken := b.found.Count() > 0; r.Acked < o.RecordsMin && !broken {
		b.found.Add("target", "%d records acknowledged, and at least %d were asked for", r.Acked, o.RecordsMin)
	}
	r.Findings, r.Broken = b.found.List(), b.found.Broken()
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
