// Package tiering owns the life of a stored segment: the Uploader brings sealed
// segments into the store, the Compactor joins them, the Collector takes out what
// holds no records.
//
// # Why a PUT may be sent twice, or land late
//
// A segment's key holds a ULID that is made for one body and never used for
// another. Every PUT of an upload has that key and that body, and a store's PUT
// is atomic. So in whatever order the first PUT, its retries and its hedges take
// effect, under that key there is either nothing or that body:
//
//   - Twice: the second replaces the first by the same bytes. A reader between
//     or across them cannot tell.
//   - An answer that was lost: the retry makes sure, and its answer counts.
//   - Late, after Upload gave up: nobody has committed the segment, so it is an
//     orphan. Its batches are uploaded again under another ULID.
//   - Late, after the segment was committed, emptied and deleted: the catalog
//     does not know the object any more, so it is an orphan as well. Orphans are
//     deleted once the orphan floor is past their ULID; from then on the catalog
//     also rejects a commit of it.
//
// That is why segments need no conditional PUT, unlike the slots of the journal.
//
// # Invariants
//
//   - Upload returns without an error only after the store answered one of its
//     PUTs with success.
//   - Nothing but the end of its context ends an upload. A record acknowledged
//     with acks=1 waits for its upload however long the store is away, also when
//     the store refuses the request: a wrong policy may be mended meanwhile.
//   - At most InFlightMax PUTs are under way, hedges and abandoned ones included.
//   - A compacted segment is committed only after it was read back and its records
//     were found to be those that were read to make it.
//   - Hedges are at most HedgeShareMax of all PUTs, but for a small burst, so a
//     store that is slow for everyone does not get twice the load from it.
//
// # Goroutines and locks
//
// A Compactor runs one job at a time. A job has a goroutine for its lease, one for
// its upload, and one for each GET, all of which have ended when the job has; what
// a job holds in memory has named limits in its Config. pace has a lock of its own.
//
// Each PUT runs in a goroutine of its own that ends when the bucket returns.
// Upload cancels them when it returns but does not wait for them, since a driver
// may be slow to notice; Wait does. So the body must never be changed after
// Upload was called. Each of hedging.Window, hedging.Budget and storeHealth has its
// own lock, never held while calling out or while taking another.
package tiering
