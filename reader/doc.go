// Package reader serves records from the bucket through a cache.
//
// A fetch asks the catalog which bytes of which objects hold its offsets, loads
// these, and hands out whole record batches with their offsets patched in.
//
// # What is current
//
// Records between log start and end of a recent view (a few seconds old at the
// most) need no proof: offsets are never reused and records never change. What
// a recent view does not hold may be new, so before the reader says that an
// offset is out of range, that there is nothing yet, or that a partition does
// not exist, it makes the replica current. A long poll does so once and then
// waits on the catalog's watch; when its time is over it looks at a recent view
// again, so that what was trimmed meanwhile is not served.
//
// An object that is missing may have been compacted or dropped after the view:
// the replica is made current and the fetch planned again. If it is missing
// then, that is damage.
//
// # What is loaded
//
// An object up to Config.WholeObjectBytes is loaded whole, since one GET then
// serves all its partitions. Of a larger one, an extent that carries its own
// CRC32C is loaded as a range; a longer extent is taken apart at batches that
// its object's index names, and read in the blocks of that index, of which one
// request gets up to Config.RangeBytesMax. A source is what is checked and cached
// as one; a piece is a run of whole batches that lies in one or more sources; a
// flight is one request, for one source or for blocks side by side.
//
// # Lanes
//
// What was committed lately, and the end of a partition, is live; the rest of what
// is read is replay. Each lane has bounds of its own for its loads, and a part of
// the cache of its own, so that replays neither delay nor push out what those at
// the tail wait for. A live fetch joins a load of the other lane that has started,
// and does not wait for one that is queued there.
//
// # Read-ahead
//
// Where a fetch ended is remembered. One that begins there is the next of a
// sequential reader, and what follows is loaded in its wake: as many bytes as the
// fetch had, twice as many with each further one up to Config.ReadAheadBytesMax,
// and half as many when there was no room. There is room as long as what was read
// ahead and not asked for fits three quarters of the lane's part of the cache (a
// quarter for whole objects, through which other partitions' replays pass too), so
// that none of it is pushed out before it is used.
//
// # Invariants
//
//   - Bytes enter the cache only after they were checked: against a CRC32C that
//     the catalog vouches for, and each batch against its own. Batches that lie
//     across blocks are checked when they are put together. A load whose bytes
//     are wrong is repeated, as they may have changed on the way; bytes that stay
//     wrong are a segment.CorruptError. No error of this package wraps one of
//     recordbatch's: those are a producer's mistakes, these are damage.
//   - Bytes in the cache are shared and never written to. What a caller gets is
//     its own.
//   - A failed load leaves nothing in the cache.
//
// # Memory
//
// Loads under way, and loaded blocks that the fetch which began the load has
// yet to use, are within the BytesMax of their lane; the cache is within
// RecentBytes, ReplayCacheBytes and CacheBytes. A fetch holds its answer besides,
// of FetchBytesMax or one batch, and at most one piece that it did not load.
//
// This cannot deadlock: loads get their share of a lane in the order in which they
// were begun, and one lock orders those of all lanes; a fetch begins its loads in
// the order in which it uses them, and uses them without waiting for anything
// else. Where it must begin one out of order, because the cache lost it, or waits
// for another's, it first lets go of the others. So of all loads that wait, the one
// that was begun first waits for nothing but loads under way.
//
// # Goroutines and locks
//
// Each load runs in a goroutine of its own that no caller's end cancels, since
// others may wait for the same bytes; its attempts and their time are bounded,
// and Close ends it and waits for it. The cache has goroutines of its own that
// end with Close. The mutex of a ring may be taken while loader.mu is held; all
// mutexes of the cache and that of trails are leaves: no lock is taken, and nothing
// waited for, while one is held.
package reader
