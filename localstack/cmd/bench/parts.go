package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// part of a round, which is measured or left out as a whole.
type part struct {
	name    string
	measure func(s *sitting, ctx context.Context, dir string, raw *rawStore) error
	rows    func(shaped bool) []row
}

// parts in the order in which they run.
var parts = []part{
	{"node", (*sitting).node, func(bool) []row { return nodeRows }},
	{"compaction", (*sitting).compaction, func(bool) []row { return compactionRows }},
	{"bodies", (*sitting).bodies, bodyRows},
	{"offered", (*sitting).offered, offeredRows},
	{"cluster", (*sitting).severalNodes, func(bool) []row { return clusterRows() }},
	{"budget", (*sitting).budgets, func(bool) []row { return budgetRows() }},
}

// node measures one node with a write-ahead buffer, then a fresh one that reads
// what the first has written, then the live tail of that log.
func (s *sitting) node(ctx context.Context, dir string, raw *rawStore) error {
	if err := s.writeHalf(ctx, dir, raw); err != nil {
		return err
	}
	if err := s.readHalf(ctx, dir, raw); err != nil {
		return err
	}
	return s.liveTail(ctx, dir)
}

// partSet is the value of --parts.
type partSet map[string]bool

func allParts() partSet {
	all := partSet{}
	for _, p := range parts {
		all[p.name] = true
	}
	return all
}

func (p *partSet) String() string {
	var names []string
	for _, known := range parts {
		if (*p)[known.name] {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, ",")
}

func (p *partSet) Set(text string) error {
	chosen, known := partSet{}, allParts()
	for name := range strings.SplitSeq(text, ",") {
		if !known[name] {
			return fmt.Errorf("%q is none of %s", name, known.String())
		}
		chosen[name] = true
	}
	*p = chosen
	return nil
}

// rows are the lines of the table of what was measured.
func (o *options) rows() []row {
	rows := slices.Clone(rawRows)
	for _, p := range parts {
		if o.parts[p.name] {
			rows = append(rows, p.rows(o.s3Shape != "")...)
		}
	}
	return rows
}
