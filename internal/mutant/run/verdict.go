package main

import (
	"regexp"
	"strings"
)

// outcome is how one run of a test ended.
type outcome int

const (
	broken  outcome = iota // neither: a crash, a timeout, a failing TestMain
	passed                 // the test ran and passed
	failed                 // the test ran and failed
	missing                // no such test
)

// outcomeOf reads what a test binary printed with -test.v. A crash of a
// goroutine or a timeout leaves no verdict line of the test's own.
func outcomeOf(test, output string, exitErr error) outcome {
	verdict := regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): ` + regexp.QuoteMeta(test) + ` `).FindStringSubmatch(output)
	switch {
	case strings.Contains(output, "panic: test timed out"):
		return broken
	case verdict == nil && exitErr == nil:
		return missing
	case verdict == nil, verdict[1] == "SKIP":
		return broken
	case verdict[1] == "FAIL" && exitErr != nil:
		return failed
	case verdict[1] == "PASS" && exitErr == nil:
		return passed
	default:
		return broken
	}
}

// objection says why a row does not hold; "" if it does.
func objection(whole, mutated outcome) string {
	switch {
	case whole == missing:
		return "there is no such test"
	case whole == failed:
		return "the test fails on the whole code"
	case whole == broken:
		return "the test does not end in order on the whole code"
	case mutated == passed:
		return "the mutant survives"
	case mutated != failed:
		return "the mutant ends the run without a verdict of the test"
	default:
		return ""
	}
}
