// Package bytepool keeps large buffers for those who need the next one: bodies of
// requests, the batches that are built of them. A buffer that is made anew is
// zeroed before it is written, and is garbage soon after; at a hundred megabytes a
// second both weigh more than the work done on the bytes.
//
// What lies in the pool was in use since the last but one garbage collection, and
// goes with the next ones. So the pool never holds more than what its users held at
// one time, which they have a limit for.
//
// Who gives a buffer back must be sure that nobody reads it any more. Builds with
// the race detector or with failpoints overwrite it at that moment, so that tests
// which compare bytes find out.
package bytepool
