package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The encodings of edits and of snapshots are made of these: unsigned varints
// as in encoding/binary, in their shortest form; zigzag varints for what may be
// negative; 4 bytes in big-endian order for CRCs; ids as their 16 bytes.

// CorruptError is bytes that are not what this package encodes.
type CorruptError struct {
	What string // what was being decoded
	Err  error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("corrupt %s: %v", e.What, e.Err) }

func (e *CorruptError) Unwrap() error { return e.Err }

var (
	errShort      = errors.New("ends too early")
	errTrailing   = errors.New("goes on after its end")
	errVarint     = errors.New("number is not in its shortest form, or too large")
	errOutOfRange = errors.New("value out of range")
	errOrder      = errors.New("items out of order")
	errReference  = errors.New("reference to nothing")
	errChecksum   = errors.New("CRC32C does not match")
)

func appendVarint(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

func appendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

func appendCRC(dst []byte, crc uint32) []byte { return binary.BigEndian.AppendUint32(dst, crc) }

func appendString(dst []byte, s string) []byte {
	return append(appendUvarint(dst, uint64(len(s))), s...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// wireReader takes values off the front of b. After an error it returns zeros,
// and err holds the first one.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *wireReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(errShort)
		return 0
	case n < 0, n > 1 && r.b[n-1] == 0:
		r.fail(errVarint)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint reads a zigzag varint.
func (r *wireReader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// number reads an unsigned varint of at most 32 bits.
func (r *wireReader) number() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail(errOutOfRange)
		return 0
	}
	return uint32(v)
}

// count reads the number of items that follow, each of at least itemMin bytes.
func (r *wireReader) count(itemMin int) int {
	v := r.uvarint()
	if v > uint64(len(r.b)/itemMin) {
		r.fail(errShort)
		return 0
	}
	return int(v)
}

func (r *wireReader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *wireReader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail(errOutOfRange)
	}
	return v == 1
}

func (r *wireReader) crc() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (r *wireReader) id() (id [16]byte) {
	copy(id[:], r.take(len(id)))
	return id
}

func (r *wireReader) string() string { return string(r.take(r.count(1))) }

func appendConfig(dst []byte, c *TopicConfig) []byte {
	dst = appendVarint(dst, c.RetentionMs)
	dst = appendVarint(dst, c.RetentionBytes)
	dst = appendUvarint(dst, uint64(uint32(c.MaxMessageBytes)))
	return append(dst, byte(c.CompressionType), byte(c.MessageTimestampType))
}

func (r *wireReader) config() TopicConfig {
	return TopicConfig{
		RetentionMs:          r.varint(),
		RetentionBytes:       r.varint(),
		MaxMessageBytes:      int32(r.number()),
		CompressionType:      CompressionType(r.byte()),
		MessageTimestampType: TimestampType(r.byte()),
	}
}

func appendObject(dst []byte, o *NewObject) []byte {
	dst = append(dst, o.ID[:]...)
	dst = append(dst, byte(o.Kind))
	dst = appendUvarint(dst, uint64(o.Size))
	dst = appendUvarint(dst, uint64(o.IndexPos))
	return appendCRC(dst, o.IndexCRC)
}

func (r *wireReader) object() NewObject {
	return NewObject{
		ID:       r.id(),
		Kind:     ObjectKind(r.byte()),
		Size:     int64(r.uvarint()),
		IndexPos: Pos(r.uvarint()),
		IndexCRC: r.crc(),
	}
}
