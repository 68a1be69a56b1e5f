// Package filestore keeps objects as files below a folder: the store of `wadi
// dev`, and of tests that need real fsyncs. Several processes of one machine may
// use one folder.
//
// # Layout
//
//	objects/<key>         an object
//	uploads/<key>~<ulid>  an object that is being written, or was when a process died
//	lock                  taken by LIST and by what changes the names below objects
//
// # Durability
//
// A body is written to a file below uploads and fsynced. PutIfAbsent gives it its
// second name below objects with link(2), which fails if the name is taken; Put does
// so with rename(2), of a further link. Then the folder is fsynced, and only then
// is the name below uploads removed. So a file below objects that has more than
// one link may be lost by a power cut, and one that has a single link cannot:
// whoever comes across the former, by GET, by LIST or because the slot is
// taken, fsyncs the folder before it relies on the file. New folders are fsynced
// into their parents before they are used, also if another process made them.
//
// When the fsync of a folder fails, nobody can tell any more what a power cut
// would leave, and to ask again may give a false yes. The store then refuses all
// further requests until it is opened anew.
//
// # One instant
//
// LIST holds the lock shared while it reads folders; link, rename and unlink
// hold it exclusively. So a listing shows what was there at one instant. The
// lock is a RWMutex within the process, then flock(2) among processes. Fsyncs of
// bodies and of folders happen outside of it.
//
// # Checksums
//
// There is no checksum on PUT: the body goes from memory into the page cache with
// nothing in between that could answer to one, and reading it back would read the
// page cache. The CRCs of the layers above detect what a disk damages later.
//
// The Date is the clock of this machine. The package starts no goroutines.
package filestore
