package soak

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// fate is what the sender of a record knows of it.
type fate uint8

// The zero fate is open: the record may be in the log, or get there at any time.
const (
	// promised records (acks=1) will be in the log.
	promised fate = iota + 1
	// acked records are in the log.
	acked
	// refused records are not.
	refused
)

func (f fate) String() string { return [...]string{"open", "promised", "acknowledged", "refused"}[f] }

// unknown is the offset of a record that nobody saw yet.
const unknown = -1

// record is one that was sent. Its value, which no other record has, follows from
// its serial and size.
type record struct {
	serial    int
	size      int
	timestamp int64 // ms
	name      string
	partition int32
	called    time.Time
	fate      fate
	offset    int64
	topic     *topic       // nil while it may be one of several with that name
	weighs    []*partition // where its bytes count as open
}

// weighIn counts the record, whose offset nobody knows, as one that a topic may have.
func (r *record) weighIn(t *topic) {
	if int(r.partition) < len(t.partitions) {
		p := t.partitions[r.partition]
		p.open += r.storedMax()
		r.weighs = append(r.weighs, p)
	}
}

// weighNowhere takes back what weighIn counted.
func (r *record) weighNowhere() {
	for _, p := range r.weighs {
		p.open -= r.storedMax()
	}
	r.weighs = nil
}

func (r *record) String() string {
	return fmt.Sprintf("record %d (%s, sent to %s/%d)", r.serial, r.fate, r.name, r.partition)
}

const (
	alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
	// storedMore is what a record takes beside its value at the most: its batch's
	// header, its own, and what a codec adds.
	storedMore = 150
)

// value makes bytes that no codec makes smaller by more than a third or so.
func (r *record) value() string {
	head := strconv.Itoa(r.serial) + "-"
	b := make([]byte, 0, len(head)+r.size)
	b = append(b, head...)
	rng := rand.NewPCG(uint64(r.serial), uint64(r.size))
	for bits, left := uint64(0), 0; len(b) < cap(b); left-- {
		if left == 0 {
			bits, left = rng.Uint64(), 10
		}
		b = append(b, alphabet[bits&63])
		bits >>= 6
	}
	return string(b)
}

// serialOf reads the serial of a value.
func serialOf(value string) (int, bool) {
	head, _, ok := strings.Cut(value, "-")
	n, err := strconv.Atoi(head)
	return n, ok && err == nil && n >= 0
}

// storedMax is how many bytes the record takes in the log at the most.
func (r *record) storedMax() int64 { return int64(r.size) + storedMore }

// storedMin is how many it takes at the least.
func (r *record) storedMin() int64 { return int64(r.size) / 2 }
