// Command chaos runs nodes on a local MinIO behind nginx, does to them whatever
// a seed draws, and checks that no promise of the design is broken meanwhile or
// afterwards. `make chaos` calls it:
//
//	go run ./localstack/cmd/chaos --wadi ./bin/wadi [--seed N] [--nodes 3] [--cycles 100] [--duration 10m]
//
// It prints the seed, each fault as it begins, figures and a verdict, and exits
// with 1 on FAIL, or if there were fewer faults or records than --faults-min and
// --records-min ask for. Then data, logs and the ledger stay, and their folder is named.
//
// The seed gives the faults and the load; which node a fault hits depends on who
// leads when its time comes, so that a run is repeated in kind, not to the letter.
//
// --scenario takeover kills the leader while everything else is well, and measures
// how long producers get no acknowledgement; --scenario rolling restarts all nodes
// in good order and takes any failed request but a 503 for a failure.
package main
