package main

import (
	"errors"
	"testing"
)

func TestOutcomeOf(t *testing.T) {
	exit := errors.New("exit status 1")
	for name, c := range map[string]struct {
		output string
		err    error
		want   outcome
	}{
		"passed":            {"=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\n", nil, passed},
		"failed":            {"=== RUN   TestX\n--- FAIL: TestX (0.00s)\n    --- FAIL: TestX/a (0.00s)\nFAIL\n", exit, failed},
		"panic in the test": {"--- FAIL: TestX (0.00s)\npanic: boom\n", exit, failed},
		"panic elsewhere":   {"=== RUN   TestX\npanic: boom\n", exit, broken},
		"timeout":           {"=== RUN   TestX\npanic: test timed out after 1m0s\n--- FAIL: TestX (60.00s)\n", exit, broken},
		"leak after it":     {"--- PASS: TestX (0.00s)\nPASS\ngoleak: found\n", exit, broken},
		"TestMain fails":    {"no minio\n", exit, broken},
		"skipped":           {"--- SKIP: TestX (0.00s)\nPASS\n", nil, broken},
		"missing":           {"testing: warning: no tests to run\nPASS\n", nil, missing},
		"another test":      {"--- PASS: TestXY (0.00s)\nPASS\n", nil, missing},
	} {
		if got := outcomeOf("TestX", c.output, c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestObjection(t *testing.T) {
	for _, whole := range []outcome{broken, passed, failed, missing} {
		for _, mutated := range []outcome{broken, passed, failed, missing} {
			holds := whole == passed && mutated == failed
			if got := objection(whole, mutated); (got == "") != holds {
				t.Errorf("whole %d, mutated %d: %q", whole, mutated, got)
			}
		}
	}
}

// TestEveryRuleHasARow: none is left out without a test that must notice.
func TestEveryRuleHasARow(t *testing.T) {
	rules, err := declaredRules("../mutant.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) < 10 {
		t.Fatalf("found only %q", rules)
	}
	for _, rule := range withoutRow(rules, table) {
		t.Errorf("%s has no row", rule)
	}
	if got := withoutRow([]string{table[0].mutant, "new-rule"}, table); len(got) != 1 || got[0] != "new-rule" {
		t.Errorf("got %q", got)
	}
}
