// Package recordbatch reads and writes Kafka's RecordBatch v2 (magic 2), the
// unit in which Wadi stores records.
//
// The format is that of Kafka's protocol guide ("Record Batch", "Record") and
// KIP-98. All integers are big-endian, varints are zigzag:
//
//	 0  int64  base offset             outside the CRC
//	 8  int32  length of what follows  outside the CRC
//	12  int32  partition leader epoch  outside the CRC
//	16  int8   magic, 2                outside the CRC
//	17  uint32 CRC32C of bytes 21 to the end
//	21  int16  attributes: 0-2 codec, 3 log append time, 4 transactional,
//	           5 control, 6 delete horizon
//	23  int32  last offset delta
//	27  int64  base timestamp, ms
//	35  int64  max timestamp, ms
//	43  int64  producer id
//	51  int16  producer epoch
//	53  int32  base sequence
//	57  int32  record count
//	61  records, compressed as one whole by the codec
//
//	record: varint length of the rest, int8 attributes, varlong timestamp delta,
//	varint offset delta, varint key length (-1 null) and key, varint value length
//	(-1 null) and value, varint header count, and per header varint key length,
//	key, varint value length (-1 null), value
//
// # Invariants
//
// What Validate accepts, Decode and Records read to exactly RecordCount records
// with the offsets base, base+1, …; and any Kafka client can read it too. So
// Validate refuses what only some decoders would read: LZ4 frames with dependent
// blocks, legacy LZ4 frames, the repeat codes that s2 adds to snappy, zstd
// dictionaries, more than one frame of LZ4 or zstd.
//
// Where Wadi differs from a Kafka broker, it differs towards refusing:
//
//   - A broker overwrites a MaxTimestamp that is not the latest of the records'
//     times, and renews the CRC. Validate refuses the batch (ErrTimestamps), as
//     a batch is never changed after it was accepted and search by time relies
//     on the field.
//   - A broker takes a batch marked with log append time for one that is not,
//     or refuses it, depending on the topic. Validate refuses it.
//   - A broker ignores attribute bits without a meaning, a record's attributes,
//     and takes any negative length for null. Validate refuses them.
//
// As in Kafka, varints need not be minimal, header keys need not be UTF-8, and
// sums of base timestamp and delta wrap around. The base offset and the leader
// epoch that a producer sends mean nothing; who stores the batch patches the
// base offset to 0.
//
// # Memory
//
// No length or count is trusted: nothing is allocated for one that the bytes
// present could not hold. Decompression writes into one buffer whose size is
// worked out before and never exceeds the limit by more than 128 KiB. Decoders,
// encoders and buffers are pooled; they hold no state between calls.
//
// The package starts no goroutines, takes no locks, and does no I/O. All
// functions are safe for concurrent use, as long as nobody writes to their
// arguments.
package recordbatch
