package linear

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict on a history.
type Verdict = porcupine.CheckResult

// The verdicts. Unknown says that the checker ran out of time.
const (
	Linearizable = porcupine.Ok
	Illegal      = porcupine.Illegal
	Unknown      = porcupine.Unknown
)

// Check tells whether a history is linearizable. If it is not, or within timeout
// not known to be, it leaves a page for a browser behind that shows the
// operations, and returns its path.
func Check(history []porcupine.Operation, timeout time.Duration) (verdict Verdict, page string, err error) {
	verdict, info := porcupine.CheckOperationsVerbose(Model, Settle(history), timeout)
	if verdict == Linearizable {
		return verdict, "", nil
	}
	f, err := os.CreateTemp("", "wadi-history-*.html")
	if err != nil {
		return verdict, "", fmt.Errorf("show the history: %w", err)
	}
	if err := errors.Join(porcupine.Visualize(Model, info, f), f.Close()); err != nil {
		return verdict, "", fmt.Errorf("show the history: %w", err)
	}
	return verdict, f.Name(), nil
}
