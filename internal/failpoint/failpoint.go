// Package failpoint names the steps of the write path at which a test may
// kill the process, to prove that a crash there loses nothing.
//
// Without the build tag failpoints, Hit is an empty function that the compiler
// inlines away. With it, the environment variable WADI_FAILPOINT=name or
// name:n makes the n-th Hit of that name (the first, without a number) end the
// process as kill -9 would: no deferred function and no flush runs.
package failpoint
