package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// The fields that a result has.
const (
	resultHasErr = 1 << iota
	resultHasTopic
	resultCreated
	resultHasProducer
	resultHasLogStart
	resultMore
	resultHasUnits
	resultHasEpoch
)

// What became of a unit, or why an edit or a unit was refused. The numbers are
// part of the journal's format.
const (
	codeAccepted   = iota // only of a unit: all of its appends landed now
	codeDuplicates        // only of a unit: some of its appends had landed before
	codeTopicNotFound
	codePartitionNotFound
	codeTopicExists
	codePartitionsShrink
	codeUnknownNode
	codeUnknownProducer
	codeProducerFenced
	codeOrphanFloor
	codeCatalogFull
	codeObjectExists
	codeKeyReused
	codeTooManyKeys
	codeGroupNotFound
	codeGroupNotEmpty
	codeGroupStrategy
	codeGroupFull
	codeMemberFenced
	codeCommitOvertaken
	codeCompactionClaimed
	codeExtentsChanged
	codeSentinelEnd // below it and from codeTopicNotFound on, the code says all
)

// The codes of errors with a value.
const (
	codeCommitOrder = iota + 64
	codeSequence
	codeOffset
	codeInvalid
	codeFeatureLevel // only of a forwarded edit's outcome: what it refuses is not in the journal
	codeFence
	codeRebalance
	codeCommitOffset
	codeCommitPartition
)

// codeReplayed is that of a unit whose key had landed before.
const codeReplayed = 128

var sentinels = [codeSentinelEnd]error{
	codeTopicNotFound:     ErrTopicNotFound,
	codePartitionNotFound: ErrPartitionNotFound,
	codeTopicExists:       ErrTopicExists,
	codePartitionsShrink:  ErrPartitionsShrink,
	codeUnknownNode:       ErrUnknownNode,
	codeUnknownProducer:   ErrUnknownProducer,
	codeProducerFenced:    ErrProducerFenced,
	codeOrphanFloor:       ErrOrphanFloor,
	codeCatalogFull:       ErrCatalogFull,
	codeObjectExists:      ErrObjectExists,
	codeKeyReused:         ErrKeyReused,
	codeTooManyKeys:       ErrTooManyKeys,
	codeGroupNotFound:     ErrGroupNotFound,
	codeGroupNotEmpty:     ErrGroupNotEmpty,
	codeGroupStrategy:     ErrGroupStrategy,
	codeGroupFull:         ErrGroupFull,
	codeMemberFenced:      ErrMemberFenced,
	codeCommitOvertaken:   ErrCommitOvertaken,
	codeCompactionClaimed: ErrCompactionClaimed,
	codeExtentsChanged:    ErrExtentsChanged,
}

// ResultsEqual tells whether a replica's own outcome of an edit is the one that the journal states.
func ResultsEqual(a, b Result) bool {
	return bytes.Equal(appendResult(nil, &a, nil), appendResult(nil, &b, nil))
}

// appendResult encodes a result: flags, then the fields that they name. With
// the layout of a commit, its units take less.
func appendResult(dst []byte, r *Result, layout *commitLayout) []byte {
	flags := byte(0)
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(resultHasErr, r.Err != nil)
	set(resultHasTopic, r.Topic != TopicID{})
	set(resultCreated, r.Created)
	set(resultHasProducer, r.Producer != 0)
	set(resultHasLogStart, r.LogStart != 0)
	set(resultMore, r.More)
	set(resultHasUnits, len(r.Units) > 0)
	set(resultHasEpoch, r.Epoch != 0)
	dst = append(dst, flags)
	if r.Err != nil {
		dst = appendError(dst, r.Err)
	}
	if flags&resultHasTopic != 0 {
		dst = append(dst, r.Topic[:]...)
	}
	if flags&resultHasProducer != 0 {
		dst = appendUvarint(dst, uint64(r.Producer))
	}
	if flags&resultHasLogStart != 0 {
		dst = appendUvarint(dst, uint64(r.LogStart))
	}
	if flags&resultHasEpoch != 0 {
		dst = appendUvarint(dst, uint64(r.Epoch))
	}
	switch {
	case len(r.Units) == 0:
	case layout == nil:
		dst = appendUnits(dst, r.Units)
	default:
		dst = layout.appendUnits(dst, r.Units)
	}
	return dst
}

// appendUnits encodes units so that equal ones, and no others, have equal bytes.
func appendUnits(dst []byte, units []UnitResult) []byte {
	dst = appendUvarint(dst, uint64(len(units)))
	for i := range units {
		u := &units[i]
		dst = appendBool(dst, u.Err != nil)
		dst = appendBool(dst, u.Replayed)
		if u.Err != nil {
			dst = appendError(dst, u.Err)
		}
		dst = appendUvarint(dst, uint64(len(u.Appends)))
		for _, a := range u.Appends {
			dst = appendBool(dst, a.Duplicate)
			dst = appendUvarint(dst, uint64(a.Base))
		}
	}
	return dst
}

// appendUnits encodes the results of the units that l describes.
func (l *commitLayout) appendUnits(dst []byte, units []UnitResult) []byte {
	if len(units) != len(l.units) {
		panic(fmt.Sprintf("catalog: results of %d units for %d", len(units), len(l.units)))
	}
	at := 0
	for i := range units {
		u := &units[i]
		if u.Err != nil {
			dst = appendError(dst, u.Err)
			at += l.units[i]
			continue
		}
		if u.Replayed {
			dst = append(dst, codeReplayed)
			at += l.units[i]
			continue
		}
		if len(u.Appends) != l.units[i] {
			panic(fmt.Sprintf("catalog: results of %d appends for %d", len(u.Appends), l.units[i]))
		}
		code := byte(codeAccepted)
		for _, a := range u.Appends {
			if a.Duplicate {
				code = codeDuplicates
			}
		}
		dst = append(dst, code)
		for _, a := range u.Appends {
			if code == codeDuplicates {
				dst = appendBool(dst, a.Duplicate)
			}
			dst = appendVarint(dst, int64(a.Base-l.foretold(at)))
			l.landed(at, a)
			at++
		}
	}
	return dst
}

// foretold is the base of the append numbered at if nothing lies between it
// and the one before it in its partition.
func (l *commitLayout) foretold(at int) Offset { return l.next[l.parts[at]] }

func (l *commitLayout) landed(at int, a AppendResult) {
	if !a.Duplicate {
		l.next[l.parts[at]] = a.Base + Offset(l.records[at])
	}
}

func appendError(dst []byte, err error) []byte {
	for code, sentinel := range sentinels {
		if sentinel != nil && err == sentinel {
			return append(dst, byte(code))
		}
	}
	var (
		order    *CommitOrderError
		sequence *SequenceError
		offset   *OffsetError
		invalid  *InvalidError
		level    *FeatureLevelError
		fence    *FenceError

		rebalance       *RebalanceError
		commitOffset    *CommitOffsetError
		commitPartition *CommitPartitionError
	)
	switch {
	case errors.As(err, &order):
		return appendUvarint(append(dst, codeCommitOrder), order.Last)
	case errors.As(err, &sequence):
		return appendUvarint(append(dst, codeSequence), uint64(uint32(sequence.Expected)))
	case errors.As(err, &offset):
		return appendUvarint(append(dst, codeOffset), uint64(offset.End))
	case errors.As(err, &invalid):
		return append(dst, codeInvalid, byte(invalid.Reason))
	case errors.As(err, &level):
		dst = appendUvarint(append(dst, codeFeatureLevel), uint64(level.Needed))
		return appendUvarint(dst, uint64(level.Level))
	case errors.As(err, &fence):
		return appendString(append(dst, codeFence), fence.Token)
	case errors.As(err, &rebalance):
		return appendUvarint(append(dst, codeRebalance), uint64(rebalance.Epoch))
	case errors.As(err, &commitOffset):
		dst = appendUvarint(append(dst, codeCommitOffset), uint64(commitOffset.Index))
		return appendUvarint(dst, uint64(commitOffset.End))
	case errors.As(err, &commitPartition):
		dst = appendUvarint(append(dst, codeCommitPartition), uint64(commitPartition.Index))
		return appendError(dst, commitPartition.Err)
	}
	panic(fmt.Sprintf("catalog: result with error %v of type %T", err, err))
}

func (r *wireReader) result(layout *commitLayout) (result Result) {
	flags := r.byte()
	if flags&resultHasErr != 0 {
		result.Err = r.error(r.byte())
	}
	if flags&resultHasTopic != 0 {
		result.Topic = r.id()
		r.require(result.Topic != TopicID{})
	}
	result.Created = flags&resultCreated != 0
	if flags&resultHasProducer != 0 {
		result.Producer = int64(r.uvarint())
		r.require(result.Producer != 0)
	}
	if flags&resultHasLogStart != 0 {
		result.LogStart = Offset(r.uvarint())
		r.require(result.LogStart != 0)
	}
	if flags&resultHasEpoch != 0 {
		result.Epoch = int64(r.uvarint())
		r.require(result.Epoch != 0)
	}
	result.More = flags&resultMore != 0
	if flags&resultHasUnits != 0 {
		r.require(layout != nil && len(layout.units) > 0)
		if r.err == nil {
			result.Units = r.units(layout)
		}
	}
	return result
}

func (r *wireReader) require(ok bool) {
	if !ok {
		r.fail(errOutOfRange)
	}
}

func (r *wireReader) units(l *commitLayout) []UnitResult {
	units := make([]UnitResult, len(l.units))
	room := make([]AppendResult, len(l.parts))
	at := 0
	for i := range units {
		code := r.byte()
		if code == codeReplayed {
			units[i].Replayed = true
			at += l.units[i]
			continue
		}
		if code > codeDuplicates {
			units[i].Err = r.error(code)
			at += l.units[i]
			continue
		}
		if l.units[i] > 0 {
			end := at + l.units[i]
			units[i].Appends = room[at:end:end]
		}
		duplicates := false
		for j := range units[i].Appends {
			a := &units[i].Appends[j]
			if code == codeDuplicates {
				a.Duplicate = r.bool()
				duplicates = duplicates || a.Duplicate
			}
			a.Base = l.foretold(at) + Offset(r.varint())
			l.landed(at, *a)
			at++
		}
		r.require(duplicates == (code == codeDuplicates))
		if r.err != nil {
			return nil
		}
	}
	return units
}

// index reads the number of an item of a list.
func (r *wireReader) index() int {
	i := r.number()
	r.require(i <= math.MaxInt32)
	return int(i)
}

func (r *wireReader) error(code byte) error {
	switch {
	case r.err != nil:
	case code >= codeTopicNotFound && code < codeSentinelEnd:
		return sentinels[code]
	case code == codeCommitOrder:
		return &CommitOrderError{Last: r.uvarint()}
	case code == codeSequence:
		return &SequenceError{Expected: int32(r.number())}
	case code == codeOffset:
		return &OffsetError{End: Offset(r.uvarint())}
	case code == codeInvalid:
		reason := InvalidReason(r.byte())
		r.require(reason > 0 && reason < invalidReasonEnd)
		return &InvalidError{Reason: reason}
	case code == codeFeatureLevel:
		return &FeatureLevelError{Needed: r.number(), Level: r.number()}
	case code == codeFence:
		return &FenceError{Token: r.string()}
	case code == codeRebalance:
		return &RebalanceError{Epoch: int64(r.uvarint())}
	case code == codeCommitOffset:
		return &CommitOffsetError{Index: r.index(), End: Offset(r.uvarint())}
	case code == codeCommitPartition:
		e := &CommitPartitionError{Index: r.index()}
		missing := r.byte()
		r.require(missing == codeTopicNotFound || missing == codePartitionNotFound)
		e.Err = r.error(missing)
		return e
	default:
		r.fail(errOutOfRange)
	}
	return nil
}
