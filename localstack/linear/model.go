package linear

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// Model is the log that clients of a partition should seem to share.
var Model = porcupine.Model{
	Partition: byPartition,
	Init:      func() any { return (*log)(nil) },
	Step: func(state, input, output any) (bool, any) {
		ok, next := step(state.(*log), input.(Request), output.(Response))
		return ok, next
	},
	Equal: func(a, b any) bool {
		return a.(*log).end() == b.(*log).end() && a.(*log).hash() == b.(*log).hash()
	},
	Hash:              func(state any) uint64 { return state.(*log).hash() },
	DescribeOperation: describe,
	DescribeState: func(state any) string {
		l := state.(*log)
		return fmt.Sprintf("end %d, hash %04x", l.end(), uint16(l.hash()))
	},
}

func byPartition(history []porcupine.Operation) [][]porcupine.Operation {
	var parts [][]porcupine.Operation
	for _, op := range history {
		p := int(op.Input.(Request).Partition)
		for len(parts) <= p {
			parts = append(parts, nil)
		}
		parts[p] = append(parts[p], op)
	}
	return parts
}

// step tells whether a log can give an answer, and what it is then.
func step(l *log, r Request, a Response) (bool, *log) {
	if a.Outcome == Refused {
		return true, l
	}
	switch r.Kind {
	case Append:
		return stepAppend(l, r, a)
	case Read:
		return stepRead(l, r, a), l
	default:
		return a.End == l.end(), l
	}
}

func stepRead(l *log, r Request, a Response) bool {
	if a.Outcome == OutOfRange {
		return r.Offset > l.end() && a.End == l.end()
	}
	next := r.Offset + int64(len(a.Records))
	switch {
	case len(a.Records) > r.Max, next > a.High, a.High > l.end():
		return false
	case len(a.Records) == 0: // nothing there yet
		return r.Offset == l.end()
	}
	return l.holds(r.Offset, a.Records)
}

func stepAppend(l *log, r Request, a Response) (bool, *log) {
	duplicateOf, duplicate, due := int64(None), false, r.Sequence
	if r.Producer != None {
		duplicateOf, duplicate, due = l.judge(r)
	}
	mismatch := r.Expected != None && r.Expected != l.end()
	lands := !duplicate && r.Sequence == due && !mismatch
	switch a.Outcome {
	case Done:
		if duplicate {
			return a.Duplicate && a.Base == duplicateOf, l
		}
		return lands && !a.Duplicate && a.Base == l.end(), l.append(r)
	case OutOfSequence:
		return !duplicate && r.Sequence != due && a.Due == due, l
	case Mismatch:
		return mismatch && a.End == l.end(), l
	case InDoubt, Promised:
		switch {
		case a.Found != None:
			return lands && l.end() == a.Found, l.append(r)
		case l.end() < a.Unread:
			return false, l
		case lands:
			return true, l.append(r)
		default: // it arrives, and nothing comes of it
			return true, l
		}
	default:
		return false, l
	}
}
