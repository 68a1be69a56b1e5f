package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// testTimeout bounds one run of a test. A mutant that hangs is not noticed.
	testTimeout = 60 * time.Second
	// processTimeout bounds the process around it, should its own timeout not
	// work. It holds the start of a service that a package's TestMain needs.
	processTimeout = 3 * time.Minute
	// tailBytes is how much of the output of a run that went wrong is shown.
	tailBytes = 2000
)

func main() {
	verbose := flag.Bool("v", false, "print the whole output of runs that went wrong")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, flag.Args(), *verbose); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// suite runs tests and remembers their runs on the whole code, which several
// mutants share.
type suite struct {
	root     string            // of the module
	binaries map[string]string // by package
	whole    map[string]result // by package and test
	out      io.Writer
	verbose  bool
}

type result struct {
	outcome outcome
	output  string
}

func run(ctx context.Context, out io.Writer, only []string, verbose bool) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	rules, err := declaredRules(filepath.Join(root, "internal", "mutant", "mutant.go"))
	if err != nil {
		return err
	}
	rows := table
	if len(only) > 0 {
		for _, name := range only {
			if !slices.Contains(rules, name) {
				return fmt.Errorf("no mutant %q; there are %s", name, strings.Join(rules, ", "))
			}
		}
		rules = only
		rows = slices.DeleteFunc(slices.Clone(table), func(r row) bool { return !slices.Contains(only, r.mutant) })
	}
	dir, err := os.MkdirTemp("", "wadi-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &suite{root: root, whole: make(map[string]result), out: out, verbose: verbose}
	if s.binaries, err = build(ctx, root, dir, packagesOf(rows)); err != nil {
		return err
	}
	good, bad := 0, 0
	for _, r := range rows {
		if s.hold(ctx, r) {
			good++
		} else {
			bad++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for _, rule := range withoutRow(rules, rows) {
		fmt.Fprintf(out, "FAIL  %-20s no test in the table\n", rule)
		bad++
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", good, bad)
	if bad > 0 {
		return errors.New("not every mutant is noticed")
	}
	return nil
}

// hold runs the test of a row on the whole code and on the mutant, and prints a
// line that tells whether the test tells them apart.
func (s *suite) hold(ctx context.Context, r row) bool {
	start := time.Now()
	key := r.pkg + " " + r.test
	whole, ok := s.whole[key]
	if !ok {
		whole = s.test(ctx, r, "")
		s.whole[key] = whole
	}
	var mutated result
	if whole.outcome == passed {
		mutated = s.test(ctx, r, r.mutant)
	}
	why := objection(whole.outcome, mutated.outcome)
	verdict := "ok  "
	if why != "" {
		verdict, why = "FAIL", ": "+why
	}
	fmt.Fprintf(s.out, "%s  %-20s %s %s (%.1fs)%s\n", verdict, r.mutant, r.pkg, r.test, time.Since(start).Seconds(), why)
	if why != "" {
		output := whole.output
		if whole.outcome == passed {
			output = mutated.output
		}
		if !s.verbose {
			output = output[max(0, len(output)-tailBytes):]
		}
		fmt.Fprintln(s.out, "      "+strings.ReplaceAll(strings.TrimSpace(output), "\n", "\n      "))
	}
	return why == ""
}

// test runs a test in its package's directory, with a rule left out if mutant
// names one.
func (s *suite) test(ctx context.Context, r row, mutant string) result {
	ctx, cancel := context.WithTimeout(ctx, processTimeout)
	defer cancel()
	args := append([]string{"-test.v", "-test.count=1", "-test.timeout=" + testTimeout.String(), "-test.run=^" + r.test + "$"}, r.args...)
	cmd := exec.CommandContext(ctx, s.binaries[r.pkg], args...)
	cmd.Dir = filepath.Join(s.root, filepath.FromSlash(r.pkg))
	cmd.Env = append(os.Environ(), "WADI_MUTANT="+mutant)
	cmd.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	return result{outcomeOf(r.test, output.String(), err), output.String()}
}

// build compiles the test binaries of the packages into dir.
func build(ctx context.Context, root, dir string, pkgs []string) (map[string]string, error) {
	binaries := make(map[string]string, len(pkgs))
	for _, pkg := range pkgs {
		binary := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "mutants", "-o", binary, "./"+pkg)
		cmd.Dir = root
		if output, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", pkg, err, output)
		}
		binaries[pkg] = binary
	}
	return binaries, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(mod))), nil
}
