// Package rebuild makes a catalog from the segments of a store whose journal and
// snapshots are lost.
//
// A segment says which topics, partitions and producers its batches are of, which
// node's commit it was made for, and, in its id, the journal's time at which it
// was sealed. It does not say whether it was committed, nor at which place among
// the commits of other nodes. What follows from that is in Report: what was
// rebuilt, what was left out and why, and what nobody can know any more.
//
// # The order
//
// The catalog gave out offsets commit by commit, so what is sought is the order
// of the commits. Three things bind it:
//
//   - Segments of one node were committed in the order in which they were sealed,
//     by the numbers in their index. Where one begins below the end of one that was
//     sealed earlier, the earlier one was never committed: the catalog's last number
//     of that node, from which a node goes on, was below it.
//   - Batches of one producer id to one partition were committed in the order of
//     epoch and sequence.
//   - What is left goes by the id of the segment, that is, by the time at which it
//     was sealed. That is the usual order, and no proof; Report counts the places.
//
// Then the batches are judged as the catalog judged them: one that an idempotent
// producer sent again landed once, and one that came too early did not land.
//
// # What a node of before may still do
//
// The new journal begins at a slot, and its epochs at a number, that no journal
// comes to by counting (the time in ms), with a claim in that slot. So whatever an
// old node still writes lies below it, and is never taken for a part of it. The
// orphan floor is at the journal's time, so that a segment which was sealed
// before is not committed later. An old node that goes on writing its own journal
// after the other was lost is not stopped by anything: Run refuses while there is
// a key of a journal, and looks again in the end.
//
// # Memory
//
// In proportion to the segments, plus the catalog: about 200 bytes for each segment, and
// 40 for each producer in each of its runs. Indexes are read twice, and not kept.
package rebuild
