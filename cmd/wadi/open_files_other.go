//go:build !unix

package main

import "math"

// openFilesMax is how many files and connections the process may have open.
func openFilesMax() int { return math.MaxInt }
