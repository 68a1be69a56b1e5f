package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// objectDecoder takes fields off the front of an object. Once a field is not
// there any more it returns zeroes and sets short, so that the caller checks once.
type objectDecoder struct {
	rest  []byte
	short bool
}

// openObject checks what all objects of the journal share, magic, version and
// the CRC32C at the end, and returns a decoder of what lies between. The CRC is
// checked before the version, so that damage is never taken for a newer format.
func openObject(b []byte, magic string, version uint16, lenMin int) (*objectDecoder, error) {
	if len(b) < len(magic)+2+crcBytes {
		return nil, errTruncated
	}
	if string(b[:len(magic)]) != magic {
		return nil, errMagic
	}
	end := len(b) - crcBytes
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, errCRC
	}
	d := &objectDecoder{rest: b[len(magic):end:end]}
	if v := d.uint16(); v != version {
		return nil, fmt.Errorf("%w: version %d", ErrNewerFormat, v)
	}
	if len(b) < lenMin {
		return nil, errTruncated
	}
	return d, nil
}

// bytes takes n bytes; they share their memory with the object. It returns n
// zero bytes if fewer are left and n is that of a fixed field, else none.
func (d *objectDecoder) bytes(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.short, d.rest = true, nil
		return make([]byte, min(max(n, 0), fixedFieldBytesMax))
	}
	field := d.rest[:n:n]
	d.rest = d.rest[n:]
	return field
}

// fixedFieldBytesMax is the length of the longest field of fixed length.
const fixedFieldBytesMax = 16

func (d *objectDecoder) uint8() uint8   { return d.bytes(1)[0] }
func (d *objectDecoder) uint16() uint16 { return binary.BigEndian.Uint16(d.bytes(2)) }
func (d *objectDecoder) uint32() uint32 { return binary.BigEndian.Uint32(d.bytes(4)) }
func (d *objectDecoder) uint64() uint64 { return binary.BigEndian.Uint64(d.bytes(8)) }
