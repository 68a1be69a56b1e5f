package linear

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// Kind of an operation.
type Kind uint8

// The operations on a partition.
const (
	Append Kind = iota
	Read
	EndOffset
)

// Digest stands for the value of a record.
type Digest uint64

// DigestOf hashes a value.
func DigestOf(value string) Digest {
	h := fnv.New64a()
	_, _ = h.Write([]byte(value))
	return Digest(h.Sum64())
}

// None is an offset, or a producer id, that is not given.
const None = -1

// Request is what a client asks of one partition.
type Request struct {
	Kind      Kind
	Partition int32

	Records  []Digest // of an Append; each value is used for one append, and its repeats
	Expected int64    // of an Append: the offset that its first record must get, or None
	Producer int64    // of an Append: the id of an idempotent producer, or None
	Sequence int64    // of the first record, if there is a producer

	Offset int64 // of a Read
	Max    int   // records that a Read may return
}

// Outcome is what a client knows of its request.
type Outcome uint8

const (
	// Done requests were carried out.
	Done Outcome = iota
	// Refused requests had no effect, for a reason that says nothing of the log.
	Refused
	// InDoubt appends may have happened, or may happen at any time.
	InDoubt
	// Promised appends (acks=1) will happen, at any time.
	Promised
	// Mismatch refuses a conditional append, and names the end offset.
	Mismatch
	// OutOfSequence refuses an idempotent append, and names the sequence that is due.
	OutOfSequence
	// OutOfRange refuses a read beyond the end offset, and names it.
	OutOfRange
)

// open tells whether the operation has no return.
func (o Outcome) open() bool { return o == InDoubt || o == Promised }

// Response is what a client was told.
type Response struct {
	Outcome Outcome

	Base      int64 // of a Done Append
	Duplicate bool  // a Done Append had been done before

	Records []Digest // of a Done Read, from Request.Offset on
	High    int64    // of a Done Read: a lower bound of the end offset

	End int64 // of a Done EndOffset, a Mismatch, an OutOfRange
	Due int64 // sequence, of an OutOfSequence

	// What Settle found out about an append in doubt: the offset at which its
	// first record was read, or None; then the end of what was read of the log,
	// so that it cannot be below.
	Found  int64
	Unread int64
}

// describe is for people who look at a history.
func describe(input, output any) string {
	r, a := input.(Request), output.(Response)
	var b strings.Builder
	switch r.Kind {
	case Append:
		fmt.Fprintf(&b, "append %d", len(r.Records))
		if r.Expected != None {
			fmt.Fprintf(&b, " expecting %d", r.Expected)
		}
		if r.Producer != None {
			fmt.Fprintf(&b, " of producer %d from sequence %d", r.Producer, r.Sequence)
		}
		fmt.Fprintf(&b, " [%s]", digests(r.Records))
	case Read:
		fmt.Fprintf(&b, "read %d from %d", r.Max, r.Offset)
	case EndOffset:
		b.WriteString("end offset")
	}
	b.WriteString(" → ")
	switch a.Outcome {
	case Done:
		switch r.Kind {
		case Append:
			fmt.Fprintf(&b, "at %d", a.Base)
			if a.Duplicate {
				b.WriteString(", a duplicate")
			}
		case Read:
			fmt.Fprintf(&b, "%d records [%s], end at least %d", len(a.Records), digests(a.Records), a.High)
		case EndOffset:
			fmt.Fprintf(&b, "%d", a.End)
		}
	case Refused:
		b.WriteString("refused, no effect")
	case InDoubt, Promised:
		b.WriteString(map[Outcome]string{InDoubt: "in doubt", Promised: "promised"}[a.Outcome])
		if a.Found != None {
			fmt.Fprintf(&b, ", later read at %d", a.Found)
		} else {
			fmt.Fprintf(&b, ", not among the first %d", a.Unread)
		}
	case Mismatch:
		fmt.Fprintf(&b, "mismatch, the end is %d", a.End)
	case OutOfSequence:
		fmt.Fprintf(&b, "out of sequence, %d is due", a.Due)
	case OutOfRange:
		fmt.Fprintf(&b, "out of range, the end is %d", a.End)
	}
	return b.String()
}

func digests(all []Digest) string {
	var b strings.Builder
	for i, d := range all {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%04x", uint16(d))
	}
	return b.String()
}
