package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The promises of the design that a run checks.
const (
	lost      = "P1"  // an acknowledged record is gone
	phantom   = "P2"  // a record that nobody sent, or one twice
	dense     = "P3"  // offsets have gaps, or one was used again
	atomicity = "P4"  // half a request, or records out of order
	visible   = "P5"  // an acknowledgement cannot be read, or an end offset went back
	sameBytes = "P6"  // an offset holds different bytes
	trimmed   = "P7"  // below the log start is no clear error with the bounds
	live      = "P11" // something is stuck, or a node ended by itself
	answers   = "errors"
)

// findingsMax bounds the findings that are kept for each promise; all are counted.
const findingsMax = 20

// Finding is one way in which a promise was seen broken.
type Finding struct {
	Promise string
	At      time.Time
	Text    string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s", f.At.Format("15:04:05.000"), f.Promise, f.Text)
}

// Findings collects them. It is safe for concurrent use.
type Findings struct {
	// Say is told each finding that is kept, as it is found. May be nil.
	Say func(format string, args ...any)

	mu     sync.Mutex
	counts map[string]int       // guarded by mu
	kept   map[string][]Finding // guarded by mu
}

func NewFindings() *Findings {
	return &Findings{counts: map[string]int{}, kept: map[string][]Finding{}}
}

// Add notes that a promise is broken.
func (f *Findings) Add(promise, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[promise]++
	if len(f.kept[promise]) < findingsMax {
		finding := Finding{Promise: promise, At: time.Now(), Text: fmt.Sprintf(format, args...)}
		f.kept[promise] = append(f.kept[promise], finding)
		if f.Say != nil {
			f.Say("FOUND %s", finding)
		}
	}
}

// Count is how often promises were seen broken.
func (f *Findings) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, count := range f.counts {
		n += count
	}
	return n
}

// Broken lists the promises that were seen broken.
func (f *Findings) Broken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var broken []string
	for promise := range f.counts {
		broken = append(broken, promise)
	}
	slices.Sort(broken)
	return broken
}

// List returns what was kept, by promise and time.
func (f *Findings) List() []string {
	var text []string
	for _, promise := range f.Broken() {
		f.mu.Lock()
		for _, finding := range f.kept[promise] {
			text = append(text, strings.ReplaceAll(finding.String(), "\n", "\n    "))
		}
		if more := f.counts[promise] - len(f.kept[promise]); more > 0 {
			text = append(text, fmt.Sprintf("%s: and %d more", promise, more))
		}
		f.mu.Unlock()
	}
	return text
}
