// Package segment is the format of a segment: one immutable object that holds
// the batches of many partitions, grouped by partition, then an index, then a
// footer of fixed size. docs/FORMAT.md has the byte tables. It does no I/O.
//
// # What it owns
//
// The bytes of a segment and its key. The catalog keeps, per partition, which
// stretch of which segment holds which offsets; the index repeats what is
// needed to check such a stretch and to begin reading inside it.
//
// # Invariants
//
//   - Encoding is deterministic: the same runs, id and origin give the same
//     bytes, and an index that DecodeIndex accepts encodes to what it came from.
//     So there is no second spelling of a segment for a bug to hide in.
//   - The runs cover the object up to the index without a gap, in the order of
//     topic UUID (as bytes), then partition.
//   - Every byte is covered by a CRC32C: batches by those of their run and its
//     blocks, the index by the footer, the footer by itself, and index and
//     footer together by the one that the catalog keeps.
//   - A byte is hashed once if it can be. A batch's own CRC covers all but its
//     first 21 bytes; the CRCs of batches, runs and tails are combined from
//     that. See Encode for what this rests on.
//
// There are no goroutines and no locks; values may be shared once built.
package segment
