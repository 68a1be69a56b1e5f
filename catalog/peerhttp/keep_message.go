package peerhttp

import (
	"encoding/binary"
	"fmt"

	"github.com/wadilog/wadi/catalog"
)

// The messages of heartbeats: a number in 4 bytes, and so many heartbeats (group
// and member, each a text; epoch) or outcomes (1 byte each).

const (
	// nameBytesMax bounds the name of a group and of a member.
	nameBytesMax = 249
	// heartbeatBytesMax bounds one heartbeat: two names and an epoch.
	heartbeatBytesMax = 2*(2+nameBytesMax) + 8
)

func encodeKeepRequest(r catalog.KeepRequest) (pieces, error) {
	if len(r.Heartbeats) > catalog.KeepHeartbeatsMax {
		return nil, fmt.Errorf("%w: %d heartbeats", errOverLimit, len(r.Heartbeats))
	}
	b := binary.BigEndian.AppendUint32(head(keepRequest), uint32(len(r.Heartbeats)))
	for _, beat := range r.Heartbeats {
		if len(beat.Group) > nameBytesMax || len(beat.Member) > nameBytesMax {
			return nil, fmt.Errorf("%w: names of %d and %d bytes", errOverLimit, len(beat.Group), len(beat.Member))
		}
		b = appendText(appendText(b, beat.Group), beat.Member)
		b = binary.BigEndian.AppendUint64(b, uint64(beat.Epoch))
	}
	return pieces{b}.seal(), nil
}

func decodeKeepRequest(b []byte) (catalog.KeepRequest, error) {
	m := openMessage(b, keepRequest)
	var r catalog.KeepRequest
	for n := m.count(catalog.KeepHeartbeatsMax); n > 0 && m.err == nil; n-- {
		r.Heartbeats = append(r.Heartbeats, catalog.Heartbeat{Group: m.name(), Member: m.name(), Epoch: int64(m.uint64())})
	}
	return r, m.close()
}

func encodeKeepAnswer(a catalog.KeepAnswer) (pieces, error) {
	if len(a.Outcomes) > catalog.KeepHeartbeatsMax {
		return nil, fmt.Errorf("%w: outcomes of %d heartbeats", errOverLimit, len(a.Outcomes))
	}
	b := binary.BigEndian.AppendUint32(head(keepAnswer), uint32(len(a.Outcomes)))
	for _, outcome := range a.Outcomes {
		b = append(b, byte(outcome))
	}
	return pieces{b}.seal(), nil
}

func decodeKeepAnswer(b []byte) (catalog.KeepAnswer, error) {
	m := openMessage(b, keepAnswer)
	var a catalog.KeepAnswer
	for _, outcome := range m.take(m.count(catalog.KeepHeartbeatsMax)) {
		a.Outcomes = append(a.Outcomes, catalog.KeepOutcome(outcome))
	}
	return a, m.close()
}

// count is a number of things to come.
func (m *message) count(limit int) int {
	n := m.uint32()
	if int64(n) > int64(limit) {
		m.fail("%d things, at most %d are allowed", n, limit)
		return 0
	}
	return int(n)
}

func (m *message) name() string {
	b := m.take(2)
	if b == nil {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > nameBytesMax {
		m.fail("name of %d bytes", n)
		return ""
	}
	return string(m.take(n))
}
