// Command bench measures Wadi beside the object store that it stands on, in one
// sitting on one machine. `make bench` calls it:
//
//	go run ./localstack/cmd/bench --wadi ./bin/wadi [--rounds 3] [--seconds 4] [--json FILE]
//
// It starts a MinIO, then goes through the same phases once per round, on a prefix
// and a node that are new in each: the raw store with the driver that nodes use,
// the local disk, and `wadi bench` against the node, turn by turn. What a row shows
// is the median over the rounds, of a ratio the median of the rounds' ratios, so
// that a machine whose speed drifts moves both sides. docs/BENCHMARKS.md tells what
// each row means.
//
// All of it shares the machine: load, node and MinIO take processor time from each
// other, so that ratios say more than megabytes per second.
package main
