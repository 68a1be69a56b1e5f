// Command run leaves out one safety rule at a time, as internal/mutant lists
// them, and runs the tests that must notice. `make mutants` calls it:
//
//	go run ./internal/mutant/run [-v] [MUTANT…]
//
// A test notices if it passes on the whole code and fails on the mutant by its
// own judgement: a build error, a crash outside of the test or a timeout is
// none. The exit status is 1 if a mutant survives a test that stands beside it
// in the table, if such a test is red on the whole code or missing, or if a rule
// of internal/mutant has no row.
package main
