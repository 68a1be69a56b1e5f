package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/localstack"
)

// How often single records are sent, and the ceilings on PUTs per second that nodes
// are given; 0 is none.
var (
	requestRates = []int{1, 10, 100, 1000}
	putBudgets   = []int{0, 20, 10, 5, 2}
)

// besideRateMax is the highest rate at which the nodes of all budgets are measured
// at the same time: they hardly need a processor then.
const besideRateMax = 100

// budgets measures latency against PUT budget, each with a node of a log of its own.
func (s *sitting) budgets(ctx context.Context, dir string, _ *rawStore) (err error) {
	nodes := make([]*localstack.Node, len(putBudgets))
	defer func() {
		for _, n := range nodes {
			if n != nil {
				err = errors.Join(err, n.Stop())
			}
		}
	}()
	for i, budget := range putBudgets {
		o := s.nodeOptions(dir, fmt.Sprintf("budget-%d", budget))
		o.Args = append(o.Args, "--put-budget", strconv.Itoa(budget))
		o.LogFile = filepath.Join(dir, fmt.Sprintf("budget-%d.log", budget))
		if nodes[i], err = localstack.StartNode(ctx, o); err != nil {
			return err
		}
	}
	for _, rate := range requestRates {
		s.say(fmt.Sprintf("%d requests a second, by PUT budget", rate))
		if err := s.budgetsAt(ctx, nodes, rate); err != nil {
			return fmt.Errorf("%d requests a second: %w", rate, err)
		}
	}
	return nil
}

func (s *sitting) budgetsAt(ctx context.Context, nodes []*localstack.Node, rate int) error {
	seconds := 2 * s.options.seconds
	if rate == 1 {
		seconds = 5 * s.options.seconds
	}
	duration := time.Duration(seconds * float64(time.Second))
	type outcome struct {
		load loadResult
		puts float64
	}
	outcomes := make([]outcome, len(nodes))
	group, groupCtx := errgroup.WithContext(ctx)
	if rate > besideRateMax {
		group.SetLimit(1)
	}
	for i, node := range nodes {
		group.Go(func() error {
			before, err := s.costs(groupCtx, node)
			if err != nil {
				return err
			}
			outcomes[i].load, err = s.runLoad(groupCtx, node, s.produceArgs("budget", "raw", openConnections*4,
				"--rate", strconv.Itoa(rate), "--duration", duration.String())...)
			if err != nil {
				return err
			}
			after, err := s.costs(groupCtx, node)
			outcomes[i].puts = (after.puts - before.puts) / outcomes[i].load.Seconds
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, o := range outcomes {
		name := budgetFigure(rate, putBudgets[i])
		s.figures.add(name+".p50_seconds", o.load.Latency.P50/1e6)
		s.figures.add(name+".p99_seconds", o.load.Latency.P99/1e6)
		s.figures.add(name+".puts_per_second", o.puts)
		s.figures.add(name+".dollars_per_month", o.puts*dollarsPerWrite*secondsPerMonth)
		s.noteFailures(name, o.load)
	}
	return nil
}

func budgetFigure(rate, budget int) string { return fmt.Sprintf("budget.%d.%d", rate, budget) }

// budgetRows are the lines of the table for PUT budgets.
func budgetRows() []row {
	var rows []row
	for _, rate := range requestRates {
		for _, budget := range putBudgets {
			name, title := budgetFigure(rate, budget), fmt.Sprintf("%d requests/s, no PUT budget", rate)
			if budget > 0 {
				title = fmt.Sprintf("%d requests/s, %d PUTs/s", rate, budget)
			}
			rows = append(rows,
				row{title: title + ", p50", figure: name + ".p50_seconds", unit: milliseconds},
				row{title: "  p99", figure: name + ".p99_seconds", unit: milliseconds},
				row{title: "  PUTs", figure: name + ".puts_per_second", unit: perSecond},
				row{title: "  requests at list price", figure: name + ".dollars_per_month", unit: dollarsPerMonth},
			)
		}
	}
	return rows
}
