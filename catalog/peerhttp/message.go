package peerhttp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
)

// A message is what the body of a request or an answer holds, version 1:
//
//	magic "WADP", version (1 byte), kind (1 byte), the fields of the kind,
//	CRC32C of all before (4 bytes)
//
// Numbers are big-endian. Texts have their length in 2 bytes before them, byte
// strings theirs in 4. Durations are nanoseconds in 8 bytes and not negative.
const (
	messageMagic   = "WADP"
	messageVersion = 1
	headBytes      = len(messageMagic) + 2
	crcBytes       = 4

	// messageOverheadMax bounds what a message has beside edits, outcomes and
	// entries: an address of journal.WriterBytesMax at most, and some numbers.
	messageOverheadMax = 2 * journal.WriterBytesMax
	forwardMessageMax  = catalog.ForwardBytesMax + messageOverheadMax
	// Each entry has the 4 bytes of its length before it, and 78 bytes or more.
	pullMessageMax = catalog.PullBytesMax + catalog.PullBytesMax/16 + messageOverheadMax
	keepMessageMax = catalog.KeepHeartbeatsMax*heartbeatBytesMax + messageOverheadMax
)

type messageKind byte

const (
	forwardRequest messageKind = iota + 1
	forwardAnswer
	pullRequest
	pullAnswer
	notLeader
	busy
	behind
	keepRequest
	keepAnswer
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errMalformed = errors.New("malformed message of a peer")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// errOverLimit refuses to send what the other side would refuse to read.
var errOverLimit = errors.New("message to a peer is over its limit")

// pieces is a message in parts, so that large ones need not be copied together.
type pieces [][]byte

func (m pieces) size() (n int64) {
	for _, p := range m {
		n += int64(len(p))
	}
	return n
}

// seal appends the checksum.
func (m pieces) seal() pieces {
	crc := uint32(0)
	for _, p := range m {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return append(m, binary.BigEndian.AppendUint32(nil, crc))
}

func head(kind messageKind) []byte {
	return append([]byte(messageMagic), messageVersion, byte(kind))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendDuration(dst []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(max(d, 0)))
}

func appendLength(dst []byte, b []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(len(b)))
}

func encodeForwardRequest(r catalog.ForwardRequest) (pieces, error) {
	if len(r.Edits) > catalog.ForwardBytesMax {
		return nil, fmt.Errorf("%w: edits of %d bytes", errOverLimit, len(r.Edits))
	}
	b := head(forwardRequest)
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	b = append(b, r.Session[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = appendLength(b, r.Edits)
	return pieces{b, r.Edits}.seal(), nil
}

func decodeForwardRequest(b []byte) (catalog.ForwardRequest, error) {
	m := openMessage(b, forwardRequest)
	r := catalog.ForwardRequest{Epoch: m.uint64()}
	copy(r.Session[:], m.take(len(r.Session)))
	r.Seq = m.uint64()
	r.Edits = m.bytes(catalog.ForwardBytesMax)
	return r, m.close()
}

func encodeForwardAnswer(a catalog.ForwardAnswer) (pieces, error) {
	if len(a.Outcomes) > catalog.ForwardBytesMax {
		return nil, fmt.Errorf("%w: outcomes of %d bytes", errOverLimit, len(a.Outcomes))
	}
	b := head(forwardAnswer)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Slot))
	b = appendLength(b, a.Outcomes)
	return pieces{b, a.Outcomes}.seal(), nil
}

func decodeForwardAnswer(b []byte) (catalog.ForwardAnswer, error) {
	m := openMessage(b, forwardAnswer)
	a := catalog.ForwardAnswer{Slot: journal.Slot(m.uint64()), Outcomes: m.bytes(catalog.ForwardBytesMax)}
	return a, m.close()
}

func encodePullRequest(r catalog.PullRequest) (pieces, error) {
	if len(r.Address) > journal.WriterBytesMax {
		return nil, fmt.Errorf("%w: address of %d bytes", errOverLimit, len(r.Address))
	}
	b := head(pullRequest)
	b = appendText(b, r.Address)
	b = binary.BigEndian.AppendUint64(b, uint64(r.After))
	b = append(b, r.Nonce[:]...)
	b = appendDuration(b, r.Wait)
	return pieces{b}.seal(), nil
}

func decodePullRequest(b []byte) (catalog.PullRequest, error) {
	m := openMessage(b, pullRequest)
	r := catalog.PullRequest{Address: m.text(), After: journal.Slot(m.uint64())}
	copy(r.Nonce[:], m.take(len(r.Nonce)))
	r.Wait = m.duration()
	return r, m.close()
}

func encodePullAnswer(a catalog.PullAnswer) (pieces, error) {
	if len(a.Successor) > journal.WriterBytesMax {
		return nil, fmt.Errorf("%w: address of %d bytes", errOverLimit, len(a.Successor))
	}
	b := head(pullAnswer)
	b = appendDuration(b, a.Stalled)
	resigned := byte(0)
	if a.Resigned {
		resigned = 1
	}
	b = append(b, resigned)
	b = appendText(b, a.Successor)
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.Entries)))
	m := pieces{b}
	total := 0
	for _, e := range a.Entries {
		total += len(e)
		if len(e) == 0 || len(e) > journal.EntryBytesMax || total > catalog.PullBytesMax {
			return nil, fmt.Errorf("%w: an entry of %d bytes after %d", errOverLimit, len(e), total-len(e))
		}
		m = append(m, appendLength(nil, e), e)
	}
	if m = m.seal(); m.size() > pullMessageMax {
		return nil, fmt.Errorf("%w: %d entries of %d bytes", errOverLimit, len(a.Entries), total)
	}
	return m, nil
}

func decodePullAnswer(b []byte) (catalog.PullAnswer, error) {
	m := openMessage(b, pullAnswer)
	a := catalog.PullAnswer{Stalled: m.duration()}
	switch m.byte() {
	case 0:
	case 1:
		a.Resigned = true
	default:
		m.fail("neither resigned nor not")
	}
	a.Successor = m.text()
	left := catalog.PullBytesMax
	for n := m.uint32(); n > 0 && m.err == nil; n-- {
		e := m.bytes(min(journal.EntryBytesMax, left))
		if len(e) == 0 {
			m.fail("empty entry")
		}
		left -= len(e)
		a.Entries = append(a.Entries, e)
	}
	return a, m.close()
}

// A refusal names nothing but itself, or whom to ask.

func encodeNotLeader(e *catalog.NotLeaderError) pieces {
	b := head(notLeader)
	b = binary.BigEndian.AppendUint64(b, e.Epoch)
	// What an entry of the journal may name as its writer has a place here.
	b = appendText(b, e.Leader[:min(len(e.Leader), journal.WriterBytesMax)])
	return pieces{b}.seal()
}

func decodeNotLeader(b []byte) (*catalog.NotLeaderError, error) {
	m := openMessage(b, notLeader)
	e := &catalog.NotLeaderError{Epoch: m.uint64(), Leader: m.text()}
	return e, m.close()
}

func encodeBare(kind messageKind) pieces { return pieces{head(kind)}.seal() }

func decodeBare(b []byte, kind messageKind) error {
	m := openMessage(b, kind)
	return m.close()
}

// message takes fields off the front of a body. After an error it returns
// zeros, and err holds the first one. Byte strings share the body's memory.
type message struct {
	rest []byte
	err  error
}

func openMessage(b []byte, want messageKind) *message {
	m := &message{}
	switch {
	case len(b) < headBytes+crcBytes:
		m.fail("%d bytes", len(b))
	case string(b[:len(messageMagic)]) != messageMagic:
		m.fail("wrong magic")
	case b[len(messageMagic)] != messageVersion:
		m.fail("version %d", b[len(messageMagic)])
	case messageKind(b[len(messageMagic)+1]) != want:
		m.fail("kind %d, not %d", b[len(messageMagic)+1], want)
	default:
		end := len(b) - crcBytes
		if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
			m.fail("CRC32C does not match")
			break
		}
		m.rest = b[headBytes:end]
	}
	return m
}

func (m *message) fail(format string, args ...any) {
	if m.err == nil {
		m.err = malformed(format, args...)
	}
	m.rest = nil
}

// close returns the first error, also that something is left.
func (m *message) close() error {
	if m.err == nil && len(m.rest) > 0 {
		m.fail("%d bytes after the end", len(m.rest))
	}
	return m.err
}

func (m *message) take(n int) []byte {
	if n > len(m.rest) {
		m.fail("ends too early")
		return nil
	}
	taken := m.rest[:n:n]
	m.rest = m.rest[n:]
	return taken
}

func (m *message) byte() byte {
	if b := m.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (m *message) uint32() uint32 {
	if b := m.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (m *message) uint64() uint64 {
	if b := m.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (m *message) duration() time.Duration {
	v := m.uint64()
	if v > math.MaxInt64 {
		m.fail("negative duration")
		return 0
	}
	return time.Duration(v)
}

func (m *message) text() string {
	b := m.take(2)
	if b == nil {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > journal.WriterBytesMax {
		m.fail("address of %d bytes", n)
		return ""
	}
	return string(m.take(n))
}

func (m *message) bytes(limit int) []byte {
	n := m.uint32()
	if int64(n) > int64(limit) {
		m.fail("%d bytes, at most %d are allowed", n, limit)
		return nil
	}
	return m.take(int(n))
}
