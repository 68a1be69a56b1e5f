// Package chaos looks for broken promises while everything fails: real nodes on a
// real MinIO behind a real nginx, faults drawn from a seed, and clients that write
// down what they know. `make chaos` runs it.
//
// # Who does what
//
//   - The fleet runs store, nodes and load balancer. Each node has a proxy before
//     its store and one before its listener for other nodes, so that it can be cut
//     off from either: connections reset, swallowed, robbed of requests or of
//     answers, slowed down.
//   - The schedule draws faults from the seed, the injector carries them out. Which
//     node is hit depends on who leads by its own account at that moment.
//   - The workload is producers (idempotent ones, acks=all without an id, acks=1),
//     a consumer for each partition and a client that trims one of them, all of
//     them through the load balancer, but for half of the acks=1 producers, which
//     go to nodes directly: their order is promised among the requests that one
//     running node took, so it must be known which did. Besides, every node is
//     asked all the time for the bounds of partitions and for what is trimmed away.
//   - The ledger is a file outside of the nodes, with what was sent and what was
//     acknowledged. A producer goes on once its acknowledgement is fsynced.
//   - The audit reads everything from all nodes when faults have stopped and
//     producers have ended, and compares it with the ledger as read from its file.
//
// # What is checked
//
// While faults go on: each answer of 200 to a fetch goes on from the asked offset
// without a gap and holds records of this run (P2, P3); the same offset never
// holds anything else, whoever serves it and in whatever form (P6); what was
// acknowledged can be read from another node right after, never empty and never
// 416 (P5); no end or start of a partition, from any node, is below what any node
// had answered or acknowledged before the question was sent (P5); below a trim
// every node answers 410 with the bounds after 5 s (P7); nothing but retryable
// errors; no node ends by itself.
//
// Now and then, and at the end, faults stop, and within 30 s every node must be
// ready, every producer have another acknowledgement, and every consumer what was
// there (P11).
//
// At the end: see Check for what is compared with the ledger (P1 to P5, P7). With
// what was seen meanwhile that is also P8, as replayed write-ahead buffers would
// show as duplicates.
//
// # Goroutines and locks
//
// startBench starts the ledger and the fleet, begin the workload; end waits for all of them.
// A member's mutex is held while its process changes, which may take as long as
// a node takes to drain, the fleet's only to look at who is there; the former is
// never taken with the latter held, but in adopt, for a member that nobody else knows yet.
package chaos
