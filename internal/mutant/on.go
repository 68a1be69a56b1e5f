//go:build mutants

package mutant

import "os"

var chosen = os.Getenv("WADI_MUTANT")

// On tells whether the named rule is left out.
func On(name string) bool { return chosen == name }
