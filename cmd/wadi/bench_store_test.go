package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

func TestBenchStoreMeasuresAndCleansUp(t *testing.T) {
	bucket := memstore.New()
	var out, errOut strings.Builder
	env := &environment{in: strings.NewReader(""), out: &out, err: &errOut, getenv: func(string) string { return "" }}
	root := newRootCommand(env)
	bench, _, err := root.Find([]string{"bench"})
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range bench.Commands() {
		if cmd.Name() == "store" {
			bench.RemoveCommand(cmd)
		}
	}
	bench.AddCommand(newBenchStoreCommand(env, func(context.Context, string) (objstore.Bucket, func() error, error) {
		return bucket, func() error { return nil }, nil
	}))
	args := []string{"bench", "store", "--store", "mem://", "--size", "1KiB", "--duration", "50ms", "--rate", "200", "--json"}
	if status := execute(t.Context(), env, root, args); status != exitOK {
		t.Fatalf("status %d: %s", status, errOut.String())
	}
	decoder := json.NewDecoder(strings.NewReader(out.String()))
	for _, op := range []string{opPut, opPutIfAbsent, opGet} {
		var report struct {
			Bench           string
			Settings        map[string]any
			Requests, Bytes int64
			Errors          map[string]int64
		}
		if err := decoder.Decode(&report); err != nil {
			t.Fatal(err)
		}
		if report.Settings["op"] != op || report.Requests < 1 || report.Bytes != report.Requests<<10 || len(report.Errors) != 0 {
			t.Errorf("%s: %+v", op, report)
		}
	}
	page, err := bucket.List(t.Context(), "", "", 10)
	if err != nil || len(page.Objects) != 0 {
		t.Errorf("left behind: %v, %v", page.Objects, err)
	}
}

func TestBenchStoreRefusesNonsense(t *testing.T) {
	for _, args := range []string{"", "--store mem:// --size 0", "--store mem:// --op copy", "--store mem:// --connections 0"} {
		s := &session{t: t}
		if got := s.run(append([]string{"bench", "store"}, strings.Fields(args)...)...); got.status != exitUsage {
			t.Errorf("%q: status %d: %s", args, got.status, got.err)
		}
	}
	s := &session{t: t}
	if got := s.run("bench", "store", "--store", "ftp://x"); got.status != exitFailure {
		t.Errorf("status %d: %s", got.status, got.err)
	}
}
