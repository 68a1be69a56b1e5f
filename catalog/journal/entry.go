package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Slot numbers the journal's entries from 0.
type Slot uint64

// Nonce tells one entry from any other. It is never zero.
type Nonce [16]byte

// NewNonce returns a random nonce.
func NewNonce() Nonce {
	var n Nonce
	_, _ = rand.Read(n[:]) // never fails: crypto/rand ends the process instead
	return n
}

// Kind is what an entry does.
type Kind uint8

// The kinds of entry.
const (
	Genesis Kind = iota + 1 // slot 0, and only there: holds the cluster id as its payload
	Claim                   // begins an epoch; holds the claimer's address
	Edits                   // holds edits with their outcomes; may be empty to carry only the time
)

func (k Kind) String() string {
	switch k {
	case Genesis:
		return "genesis"
	case Claim:
		return "claim"
	case Edits:
		return "edits"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// EntryBytesMax bounds one encoded entry.
const EntryBytesMax = 4 << 20

// WriterBytesMax bounds the address of a writer.
const WriterBytesMax = 1024

// Entry is what one slot holds.
type Entry struct {
	Slot    Slot
	Kind    Kind
	Epoch   uint64
	Nonce   Nonce
	Prev    Nonce  // nonce of the entry before; zero in slot 0
	Time    int64  // ms; highest Date of the store that the writer saw
	Writer  string // address of the writer
	Payload []byte // the catalog's encoding; opaque here
}

// The layout of an entry, version 1; docs/FORMAT.md has the table. All numbers
// are big-endian.
const (
	entryMagic      = "WADJ"
	entryVersion    = 1
	entryFixedBytes = 4 + 2 + 1 + 1 + 8 + 8 + 16 + 16 + 8 // up to the writer's length
	// entryMinBytes is the length of an entry without writer and payload.
	entryMinBytes = entryFixedBytes + 2 + 4 + 4 + crcBytes
	crcBytes      = 4
)

// castagnoli is the polynomial of every checksum in Wadi.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errTruncated  = errors.New("truncated")
	errTrailing   = errors.New("bytes after the end")
	errMagic      = errors.New("wrong magic")
	errCRC        = errors.New("CRC32C does not match")
	errOtherSlot  = errors.New("names another slot than its key")
	errReserved   = errors.New("reserved byte is not zero")
	errBadCount   = errors.New("count beyond its bound")
	errNotInOrder = errors.New("claims are not ascending, or above the slot")
)

// EncodedLen is the length in bytes of e as Append writes it.
func (e *Entry) EncodedLen() int { return entryMinBytes + len(e.Writer) + len(e.Payload) }

// Validate tells whether e can be stored: ErrInvalidEntry or ErrEntryTooLarge.
func (e *Entry) Validate() error {
	if err := e.check(); err != nil {
		return fmt.Errorf("%w: slot %d: %w", ErrInvalidEntry, e.Slot, err)
	}
	if n := e.EncodedLen(); n > EntryBytesMax {
		return fmt.Errorf("%w: slot %d has %d", ErrEntryTooLarge, e.Slot, n)
	}
	return nil
}

// check holds what is true of every entry, written or read.
func (e *Entry) check() error {
	switch {
	case e.Kind < Genesis || e.Kind > Edits:
		return fmt.Errorf("unknown %v", e.Kind)
	case (e.Kind == Genesis) != (e.Slot == 0):
		return errors.New("genesis belongs into slot 0, and nothing else does")
	case e.Nonce == Nonce{}:
		return errors.New("zero nonce")
	case (e.Prev == Nonce{}) != (e.Slot == 0):
		return errors.New("the nonce before is zero in slot 0, and only there")
	case len(e.Writer) > WriterBytesMax:
		return fmt.Errorf("writer of %d bytes, at most %d are allowed", len(e.Writer), WriterBytesMax)
	}
	return nil
}

// Append encodes e after dst. An entry that Validate refuses may come out as
// bytes that Decode refuses.
func (e *Entry) Append(dst []byte) []byte {
	if len(e.Writer) > math.MaxUint16 || len(e.Payload) > math.MaxUint32 {
		panic("journal: Append of an entry that was not validated")
	}
	start := len(dst)
	dst = append(dst, entryMagic...)
	dst = binary.BigEndian.AppendUint16(dst, entryVersion)
	dst = append(dst, byte(e.Kind), 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Slot))
	dst = binary.BigEndian.AppendUint64(dst, e.Epoch)
	dst = append(dst, e.Nonce[:]...)
	dst = append(dst, e.Prev[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Time))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(e.Writer)))
	dst = append(dst, e.Writer...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.Payload)))
	dst = append(dst, e.Payload...)
	dst = binary.BigEndian.AppendUint32(dst, 0) // length of inline data: none in this version
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// Decode reads the entry of a slot; a *CorruptError if it is not one, or is
// that of another slot. The payload shares its memory with b.
func Decode(slot Slot, b []byte) (Entry, error) {
	e, err := decodeEntry(slot, b)
	if err != nil {
		return Entry{}, &CorruptError{Key: fmt.Sprintf("journal/%020d", slot), Err: err}
	}
	return e, nil
}

func decodeEntry(slot Slot, b []byte) (Entry, error) {
	if len(b) > EntryBytesMax {
		return Entry{}, errTrailing
	}
	d, err := openObject(b, entryMagic, entryVersion, entryMinBytes)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: Kind(d.uint8())}
	reserved := d.uint8()
	e.Slot = Slot(d.uint64())
	e.Epoch = d.uint64()
	e.Nonce = Nonce(d.bytes(len(e.Nonce)))
	e.Prev = Nonce(d.bytes(len(e.Prev)))
	e.Time = int64(d.uint64())
	e.Writer = string(d.bytes(int(d.uint16())))
	e.Payload = d.bytes(int(d.uint32()))
	inline := d.uint32()
	switch {
	case d.short:
		return Entry{}, errTruncated
	case reserved != 0:
		return Entry{}, errReserved
	case inline != 0:
		return Entry{}, fmt.Errorf("%w: inline data", ErrNewerFormat)
	case len(d.rest) != 0:
		return Entry{}, errTrailing
	case e.Slot != slot:
		return Entry{}, fmt.Errorf("%w: %d", errOtherSlot, e.Slot)
	}
	return e, e.check()
}
