package peerhttp

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"encoding/binary"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
)

func (m pieces) join() []byte { return bytes.Join(m, nil) }

func must(t testing.TB) func(m pieces, err error) []byte {
	return func(m pieces, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(len(m.join())); got != m.size() {
			t.Fatalf("a message of %d bytes says that it has %d", got, m.size())
		}
		return m.join()
	}
}

// same holds that a value comes out of its message as it went in.
func same[T any](t *testing.T, want T, encode func(T) (pieces, error), decode func([]byte) (T, error)) {
	t.Helper()
	got, err := decode(must(t)(encode(want)))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestMessagesComeOutAsTheyWentIn(t *testing.T) {
	nonce := journal.NewNonce()
	for _, r := range []catalog.ForwardRequest{
		{Edits: []byte{}},
		{Epoch: math.MaxUint64, Session: nonce, Seq: 7, Edits: []byte("edits")},
		{Epoch: 3, Seq: 1, Edits: bytes.Repeat([]byte{7}, catalog.ForwardBytesMax)},
	} {
		same(t, r, encodeForwardRequest, decodeForwardRequest)
	}
	for _, a := range []catalog.ForwardAnswer{
		{Outcomes: []byte{}},
		{Slot: math.MaxUint64, Outcomes: bytes.Repeat([]byte{9}, catalog.ForwardBytesMax)},
	} {
		same(t, a, encodeForwardAnswer, decodeForwardAnswer)
	}
	for _, r := range []catalog.PullRequest{
		{},
		{Address: "http://10.0.0.7:7171", After: 12, Nonce: nonce, Wait: 3 * time.Second},
		{Address: strings.Repeat("a", journal.WriterBytesMax), Wait: math.MaxInt64},
	} {
		same(t, r, encodePullRequest, decodePullRequest)
	}
	largest := bytes.Repeat([]byte{5}, journal.EntryBytesMax)
	for _, a := range []catalog.PullAnswer{
		{},
		{Entries: [][]byte{[]byte("one"), []byte("two")}, Stalled: time.Millisecond},
		{Entries: [][]byte{largest, largest}},
		{Resigned: true, Successor: strings.Repeat("b", journal.WriterBytesMax)},
	} {
		same(t, a, encodePullAnswer, decodePullAnswer)
	}
	long := strings.Repeat("m", nameBytesMax)
	most := make([]catalog.Heartbeat, catalog.KeepHeartbeatsMax)
	for i := range most {
		most[i] = catalog.Heartbeat{Group: long, Member: long, Epoch: math.MaxInt64}
	}
	for _, r := range []catalog.KeepRequest{{}, {Heartbeats: []catalog.Heartbeat{{Group: "g", Member: "m", Epoch: 7}, {}}}, {Heartbeats: most}} {
		same(t, r, encodeKeepRequest, decodeKeepRequest)
	}
	if m := must(t)(encodeKeepRequest(catalog.KeepRequest{Heartbeats: most})); len(m) > keepMessageMax {
		t.Errorf("a full request has %d bytes, at most %d are read", len(m), keepMessageMax)
	}
	for _, a := range []catalog.KeepAnswer{
		{},
		{Outcomes: []catalog.KeepOutcome{catalog.KeepRenewed, catalog.KeepStale, catalog.KeepFenced}},
		{Outcomes: make([]catalog.KeepOutcome, catalog.KeepHeartbeatsMax)},
	} {
		same(t, a, encodeKeepAnswer, decodeKeepAnswer)
	}
	for _, e := range []catalog.NotLeaderError{{}, {Epoch: 9, Leader: "http://10.0.0.9:1"}} {
		got, err := decodeNotLeader(encodeNotLeader(&e).join())
		if err != nil || *got != e {
			t.Errorf("got %+v, %v, want %+v", got, err, e)
		}
	}
	for _, kind := range []messageKind{busy, behind} {
		if err := decodeBare(encodeBare(kind).join(), kind); err != nil {
			t.Error(err)
		}
	}
	if err := decodeBare(encodeBare(busy).join(), behind); !errors.Is(err, errMalformed) {
		t.Errorf("one refusal was read as another: %v", err)
	}
}

// TestWhatIsOverItsLimitIsNotSent: the other side would refuse it, and perhaps
// after having been asked to read it.
func TestWhatIsOverItsLimitIsNotSent(t *testing.T) {
	large := make([]byte, catalog.ForwardBytesMax+1)
	address := strings.Repeat("a", journal.WriterBytesMax+1)
	largest := large[:journal.EntryBytesMax]
	tiny := make([][]byte, catalog.PullBytesMax/16)
	for i := range tiny {
		tiny[i] = large[:16]
	}
	for name, encode := range map[string]func() (pieces, error){
		"edits":       func() (pieces, error) { return encodeForwardRequest(catalog.ForwardRequest{Edits: large}) },
		"outcomes":    func() (pieces, error) { return encodeForwardAnswer(catalog.ForwardAnswer{Outcomes: large}) },
		"address":     func() (pieces, error) { return encodePullRequest(catalog.PullRequest{Address: address}) },
		"successor":   func() (pieces, error) { return encodePullAnswer(catalog.PullAnswer{Successor: address}) },
		"entry":       func() (pieces, error) { return encodePullAnswer(catalog.PullAnswer{Entries: [][]byte{large}}) },
		"empty entry": func() (pieces, error) { return encodePullAnswer(catalog.PullAnswer{Entries: [][]byte{{}}}) },
		"entries": func() (pieces, error) {
			return encodePullAnswer(catalog.PullAnswer{Entries: [][]byte{largest, largest, {1}}})
		},
		"heartbeats": func() (pieces, error) {
			return encodeKeepRequest(catalog.KeepRequest{Heartbeats: make([]catalog.Heartbeat, catalog.KeepHeartbeatsMax+1)})
		},
		"group":  func() (pieces, error) { return encodeKeepRequest(keepOf(strings.Repeat("g", nameBytesMax+1), "m")) },
		"member": func() (pieces, error) { return encodeKeepRequest(keepOf("g", strings.Repeat("m", nameBytesMax+1))) },
		"outcomes of heartbeats": func() (pieces, error) {
			return encodeKeepAnswer(catalog.KeepAnswer{Outcomes: make([]catalog.KeepOutcome, catalog.KeepHeartbeatsMax+1)})
		},
		"lengths of many": func() (pieces, error) { return encodePullAnswer(catalog.PullAnswer{Entries: tiny}) },
	} {
		if _, err := encode(); !errors.Is(err, errOverLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func keepOf(group, member string) catalog.KeepRequest {
	return catalog.KeepRequest{Heartbeats: []catalog.Heartbeat{{Group: group, Member: member}}}
}

// decoders are those of all kinds, each with what encodes its value again.
var decoders = map[messageKind]func([]byte) ([]byte, error){
	forwardRequest: again(decodeForwardRequest, encodeForwardRequest),
	forwardAnswer:  again(decodeForwardAnswer, encodeForwardAnswer),
	pullRequest:    again(decodePullRequest, encodePullRequest),
	pullAnswer:     again(decodePullAnswer, encodePullAnswer),
	keepRequest:    again(decodeKeepRequest, encodeKeepRequest),
	keepAnswer:     again(decodeKeepAnswer, encodeKeepAnswer),
	notLeader: again(decodeNotLeader, func(e *catalog.NotLeaderError) (pieces, error) {
		return encodeNotLeader(e), nil
	}),
	busy: func(b []byte) ([]byte, error) { return encodeBare(busy).join(), decodeBare(b, busy) },
}

func again[T any](decode func([]byte) (T, error), encode func(T) (pieces, error)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		m, err := encode(v)
		if err != nil {
			return nil, errors.New("what was read cannot be written")
		}
		return m.join(), nil
	}
}

func samples(t testing.TB) map[messageKind][]byte {
	ok := must(t)
	return map[messageKind][]byte{
		forwardRequest: ok(encodeForwardRequest(catalog.ForwardRequest{Epoch: 3, Session: journal.Nonce{1}, Seq: 4, Edits: []byte("edits")})),
		forwardAnswer:  ok(encodeForwardAnswer(catalog.ForwardAnswer{Slot: 12, Outcomes: []byte("outcomes")})),
		pullRequest:    ok(encodePullRequest(catalog.PullRequest{Address: "http://a:1", After: 7, Nonce: journal.Nonce{2}, Wait: time.Second})),
		pullAnswer:     ok(encodePullAnswer(catalog.PullAnswer{Entries: [][]byte{[]byte("one"), []byte("two")}, Stalled: 1, Resigned: true, Successor: "http://b:1"})),
		keepRequest:    ok(encodeKeepRequest(catalog.KeepRequest{Heartbeats: []catalog.Heartbeat{{Group: "g", Member: "m", Epoch: 7}, {Group: "h", Member: "n", Epoch: 8}}})),
		keepAnswer:     ok(encodeKeepAnswer(catalog.KeepAnswer{Outcomes: []catalog.KeepOutcome{catalog.KeepRenewed, catalog.KeepStale}})),
		notLeader:      ok(encodeNotLeader(&catalog.NotLeaderError{Epoch: 5, Leader: "http://c:1"}), nil),
		busy:           ok(encodeBare(busy), nil),
	}
}

// TestDamagedMessagesAreRefused flips each bit, cuts at each place, and adds.
func TestDamagedMessagesAreRefused(t *testing.T) {
	for kind, whole := range samples(t) {
		decode := decoders[kind]
		for i := range whole {
			for bit := range 8 {
				bad := bytes.Clone(whole)
				bad[i] ^= 1 << bit
				if _, err := decode(bad); !errors.Is(err, errMalformed) {
					t.Fatalf("kind %d, bit %d of byte %d: %v", kind, bit, i, err)
				}
			}
			if _, err := decode(whole[:i]); !errors.Is(err, errMalformed) {
				t.Fatalf("kind %d cut to %d bytes: %v", kind, i, err)
			}
			// With a good checksum it is still too short.
			if i >= headBytes && i < len(whole)-crcBytes {
				if _, err := decode(checksummed(whole[:i])); !errors.Is(err, errMalformed) {
					t.Fatalf("kind %d cut to %d bytes, with its checksum: %v", kind, i, err)
				}
			}
		}
		longer := checksummed(append(bytes.Clone(whole[:len(whole)-crcBytes]), 0))
		if _, err := decode(longer); !errors.Is(err, errMalformed) {
			t.Errorf("kind %d with a byte more: %v", kind, err)
		}
		for other := range samples(t) {
			if other == kind {
				continue
			}
			if _, err := decoders[other](whole); !errors.Is(err, errMalformed) {
				t.Errorf("kind %d was read as %d: %v", kind, other, err)
			}
		}
	}
}

func checksummed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
}

// FuzzMessages: nothing panics, and what is accepted is written as the same bytes.
func FuzzMessages(f *testing.F) {
	for kind, b := range samples(f) {
		f.Add(byte(kind), b[headBytes:len(b)-crcBytes])
	}
	f.Add(byte(pullAnswer), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Add(byte(keepRequest), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, kind byte, fields []byte) {
		decode, ok := decoders[messageKind(kind)]
		if !ok {
			return
		}
		message := checksummed(append(head(messageKind(kind)), fields...))
		written, err := decode(message)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(written, message) {
			t.Fatalf("%x was read, and is written as %x", message, written)
		}
		_, _ = decode(fields)
	})
}
