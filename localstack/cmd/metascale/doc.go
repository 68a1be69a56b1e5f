// Command metascale measures the catalog at the size it may grow to. `make
// metascale` calls it:
//
//	go run ./localstack/cmd/metascale [--partitions 1000000] [--extents 10000000] [--appends 100]
//	go run ./localstack/cmd/metascale --slots 10000 [--latency 20ms]
//
// The first form makes a state through Apply, as a replica does, and reports what
// it takes in memory, what a commit to it costs, how long its snapshot takes to
// encode and decode, and what the rounds of retention and garbage cost. Then it
// stores the snapshot in a MinIO of its own, starts a catalog from it, and commits
// through that one, without and with a snapshot being written and verified.
//
// The second form writes a journal of so many slots, without snapshots, and times
// the start from it, from MinIO as it is and with every GET made slower.
package main
