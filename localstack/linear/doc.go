// Package linear checks that append, conditional append, read and end offset
// are linearizable per partition, whichever nodes they are sent to and whatever
// goes wrong meanwhile.
//
// Clients (Client) send random operations over the HTTP API of several nodes and
// write each down in a History, with the order in which it was called and
// returned. Model says what a single log would have answered; Check asks
// Porcupine whether there is an order of the operations in which that log gives
// the answers that were given.
//
// An append whose outcome is not known has no return: it may have happened or
// not, at any moment from its call on. See Settle for what the rest of a history
// says about where it can stand.
//
// The tests run it twice: over nodes in one process, on a failing store and in
// virtual time (thousands of histories), and over real processes on MinIO that
// are killed and frozen.
package linear
