// Package wal is the write-ahead buffer: it keeps on the local disk what was
// acknowledged with acks=1 until the catalog has it.
//
// A Log takes frames, each a number and some bytes, and makes them durable by
// group commit. A frame is one produce request; a number is that of the
// request among those of its node id, which is new at every start. Once the
// catalog has committed up to a number, Release lets go of the files below it.
// What a process left behind, its successor finds with Leftovers, replays
// under the old node id with (id, after, upto), and removes.
//
// # Invariants
//
//   - A Ticket's Wait returns nil only after fdatasync has returned for the
//     frame, and after the file's directory entry is durable.
//   - A failed write or fsync is final. Nothing is acknowledged after it and
//     no fsync is tried a second time: the kernel drops the pages it could not
//     write, and then reports success.
//   - The older files of a node id are closed and fsynced whole before the
//     next one exists. Only the newest can have a torn tail.
//   - Files are taken away oldest first, and each removal is durable before the
//     next. A missing file between two others is damage.
//   - A frame passes its checksum only at the place where it was written:
//     node id, file sequence and position are part of it.
//   - What can be read is replayed. A damaged file is never deleted, and it
//     gets its other name only when its readable frames are committed.
//
// # Format
//
// All integers are little-endian, all checksums CRC32C (Castagnoli). Positions
// count bytes from the start of the file.
//
// The directory holds:
//
//	LOCK                             locked with flock(2) while a process uses the directory
//	<node id>-<seq, 10 digits>.wal   the files of a node id, seq from 1 on
//	*.wal.tmp                        a file being made; it holds no frame
//	*.wal.spare                      a released file that the next new file overwrites
//	*.wal.damaged, *.wal.damaged.2   replayed but for its holes, kept for the operator
//	*.wal.unknown, *.wal.unknown.2   of a node id that the catalog does not know, not replayed
//
// A file is a header, frames one after another without padding, and, once it
// is complete, a closing frame. Behind that, and behind the last frame of a
// file that is not complete, there may be bytes of an earlier use of the file,
// or zeros.
//
//	file header, 64 bytes
//	 pos  size
//	   0     8  magic "WADIWAL\n"
//	   8     4  version, 1
//	  12     4  zero
//	  16    16  node id (UUID)
//	  32     8  file sequence
//	  40     8  after: the last frame number in all earlier files of the node id, 0 if none
//	  48     8  end of the file before: the position behind its closing frame; 0 in the first
//	  56     4  zero
//	  60     4  CRC32C of bytes 0 to 60
//
//	frame: header of 32 bytes, then the payload
//	 pos  size
//	   0     3  magic f5 57 46 ("\xf5WF")
//	   3     1  kind: 'D' data, 'E' closing frame
//	   4     4  CRC32C of: node id (16), file sequence (8), position of the frame (8), header bytes 0 to 4 and 8 to 32
//	   8     4  length of the payload, 0 in a closing frame
//	  12     4  CRC32C of the payload
//	  16     8  number: ascending, gaps allowed; in a closing frame that of the last data frame in this file or before it
//	  24     8  synced position: up to here fsync had returned when the frame was written
//	  32        payload
//
// The header's checksum covers the length and the payload's checksum. So a bad
// payload does not hide where the next frame begins, and a length is never
// believed, nor memory taken for it, before it is checked.
//
// # Torn tail or damage
//
// A reader goes through the whole file. Where there is no good frame it goes
// on behind the bad one, if its header is good, and else searches for the next
// position that holds a good header. Each such gap is judged by the highest
// synced position that any good frame of the file states, also one behind the
// gap:
//
//   - A gap in the newest file of a node id that begins at or beyond that
//     position is a torn tail. It and all behind it was not acknowledged, or
//     cannot be told from what was not. The file is truncated there and
//     fsynced.
//   - Any other gap is damage, as is a file without a good header, an older
//     file without its closing frame, a missing file, and whatever the disk
//     answers with an error instead of bytes. It is counted and reported as a
//     Hole with the numbers of the frames around it. The good frames before
//     and behind it are replayed: numbers may have gaps, every frame is a
//     whole request, and the order of the others is kept. When they are
//     committed, the file is renamed to *.damaged instead of deleted.
//
// The last group before a crash is in no later frame's synced position. If the
// disk damages just that group, it looks like a torn tail. A closing frame,
// written at a proper shutdown, closes this hole.
//
// # Goroutines and locks
//
// Run owns two goroutines: one writes and fsyncs, one takes released files
// away: up to two become spare files, since overwriting a file is cheaper for
// fdatasync than growing one, and the others are deleted.
// Log.mu guards what they share with the callers; it is never held during
// input or output and no other lock is taken under it.
package wal
