package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares b with a file in testdata and returns what the file holds.
func golden(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: the encoding changed; a change needs a new version\n got %x\nwant %x", name, b, want)
	}
	return want
}

func sequence(first byte) (n Nonce) {
	for i := range n {
		n[i] = first + byte(i)
	}
	return n
}

func goldenEntries() map[string]Entry {
	return map[string]Entry{
		"genesis.entry": {Kind: Genesis, Nonce: sequence(1), Time: 1_700_000_000_000, Writer: "10.0.0.1:8080", Payload: []byte("0123456789abcdef")},
		"claim.entry":   {Slot: 1, Kind: Claim, Epoch: 1, Nonce: sequence(2), Prev: sequence(1), Time: 1_700_000_000_001, Writer: "10.0.0.1:8080", Payload: []byte{}},
		"edits.entry":   {Slot: 1 << 40, Kind: Edits, Epoch: 77, Nonce: sequence(3), Prev: sequence(2), Time: 1_700_000_123_456, Writer: "[::1]:9", Payload: []byte("edits\x00")},
		"empty.entry":   {Slot: 9, Kind: Edits, Epoch: 2, Nonce: sequence(4), Prev: sequence(3), Time: -1, Payload: []byte{}},
	}
}

func TestEntryGolden(t *testing.T) {
	for name, e := range goldenEntries() {
		b := golden(t, name, e.Append(nil))
		got, err := Decode(e.Slot, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%s: got %+v, want %+v", name, got, e)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nonce := rapid.Custom(func(t *rapid.T) (n Nonce) {
			copy(n[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
			n[0] |= 1
			return n
		})
		e := Entry{
			Slot: Slot(rapid.Uint64Min(1).Draw(t, "slot")), Kind: rapid.SampledFrom([]Kind{Claim, Edits}).Draw(t, "kind"),
			Epoch: rapid.Uint64().Draw(t, "epoch"), Nonce: nonce.Draw(t, "nonce"), Prev: nonce.Draw(t, "prev"),
			Time: rapid.Int64().Draw(t, "time"), Writer: rapid.StringN(0, -1, WriterBytesMax).Draw(t, "writer"),
			Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
		prefix := []byte("before")
		b := e.Append(prefix)
		if !bytes.HasPrefix(b, prefix) || len(b) != len(prefix)+e.EncodedLen() {
			t.Fatalf("appended %d bytes, want %d", len(b)-len(prefix), e.EncodedLen())
		}
		got, err := Decode(e.Slot, b[len(prefix):])
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v, want %+v", got, e)
		}
	})
}

// resum puts the right CRC behind a changed body.
func resum(b []byte) []byte {
	end := len(b) - crcBytes
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

func TestDecodeRefuses(t *testing.T) {
	e := goldenEntries()["claim.entry"]
	valid := e.Append(nil)
	changed := func(pos int, to ...byte) []byte {
		b := bytes.Clone(valid)
		copy(b[pos:], to)
		return resum(b)
	}
	without := func(change func(*Entry)) []byte {
		c := e
		change(&c)
		return c.Append(nil)
	}
	for _, test := range []struct {
		name string
		slot Slot
		b    []byte
		want error // nil for any
	}{
		{"nothing", 1, nil, errTruncated},
		{"cut", 1, valid[:len(valid)-1], errCRC},
		{"cut with a right CRC", 1, resum(bytes.Clone(valid[:entryFixedBytes])), errTruncated},
		{"appended", 1, append(bytes.Clone(valid), 0), errCRC},
		{"appended with a right CRC", 1, resum(append(bytes.Clone(valid), 0)), errTrailing},
		{"flipped bit", 1, func() []byte { b := bytes.Clone(valid); b[30] ^= 1; return b }(), errCRC},
		{"magic", 1, changed(0, 'X'), errMagic},
		{"version", 1, changed(4, 0, 2), ErrNewerFormat},
		{"reserved", 1, changed(7, 1), errReserved},
		{"other slot", 2, valid, errOtherSlot},
		{"inline data", 1, changed(len(valid)-8, 0, 0, 0, 1), ErrNewerFormat},
		{"writer beyond the end", 1, changed(entryFixedBytes, 0xff, 0xff), errTruncated},
		{"payload beyond the end", 1, changed(entryFixedBytes+2+len(e.Writer), 0xff, 0xff, 0xff, 0xff), errTruncated},
		{"kind 0", 1, changed(6, 0), nil},
		{"kind 4", 1, changed(6, 4), nil},
		{"genesis above slot 0", 1, changed(6, byte(Genesis)), nil},
		{"claim in slot 0", 0, without(func(e *Entry) { e.Slot, e.Prev = 0, Nonce{} }), nil},
		{"no nonce", 1, without(func(e *Entry) { e.Nonce = Nonce{} }), nil},
		{"no nonce before", 1, without(func(e *Entry) { e.Prev = Nonce{} }), nil},
		{"too long", 1, make([]byte, EntryBytesMax+1), errTrailing},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode(test.slot, test.b)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want a CorruptError for %v", err, test.want)
			}
		})
	}
}

func TestValidateBoundsTheEntry(t *testing.T) {
	e := goldenEntries()["edits.entry"]
	e.Payload = make([]byte, EntryBytesMax-e.EncodedLen()+len(e.Payload))
	if err := e.Validate(); err != nil || e.EncodedLen() != EntryBytesMax {
		t.Errorf("an entry of %d bytes: %v", e.EncodedLen(), err)
	}
	e.Payload = append(e.Payload, 0)
	if err := e.Validate(); !errors.Is(err, ErrEntryTooLarge) || !errors.Is(err, ErrInvalidEntry) {
		t.Errorf("one byte more: %v", err)
	}
	e.Payload, e.Writer = nil, string(make([]byte, WriterBytesMax+1))
	if err := e.Validate(); !errors.Is(err, ErrInvalidEntry) {
		t.Errorf("a writer that is too long: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range goldenEntries() {
		f.Add(uint64(e.Slot), e.Append(nil))
	}
	f.Fuzz(func(t *testing.T, slot uint64, b []byte) {
		for _, b := range [][]byte{b, fuzzSum(b)} {
			e, err := Decode(Slot(slot), b)
			if err != nil {
				continue
			}
			if again := e.Append(nil); !bytes.Equal(again, b) {
				t.Fatalf("decoded and encoded again: got %x, want %x", again, b)
			}
			if err := e.Validate(); err != nil {
				t.Fatalf("decoded what must not be written: %v", err)
			}
		}
	})
}

// fuzzSum gives b the right CRC, so that the fuzzer comes past it.
func fuzzSum(b []byte) []byte {
	if len(b) < crcBytes {
		return b
	}
	return resum(bytes.Clone(b))
}

func BenchmarkEntry(b *testing.B) {
	e := goldenEntries()["edits.entry"]
	e.Payload = make([]byte, 64<<10)
	encoded := e.Append(nil)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		buf := make([]byte, 0, len(encoded))
		for b.Loop() {
			e.Append(buf)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			if _, err := Decode(e.Slot, encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}
