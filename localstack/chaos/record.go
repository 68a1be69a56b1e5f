package chaos

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
)

// RecordID names a record: the one with number Seq of a producer, from 0.
type RecordID struct {
	Producer uint32
	Seq      uint32
}

func (id RecordID) String() string { return fmt.Sprintf("%d/%d", id.Producer, id.Seq) }

// errForeignValue says that a value was not made by this run.
var errForeignValue = errors.New("value was not made by this run")

const fillAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"

// appendValue appends the value of a record: the run, the producer, the
// sequence, fill bytes that follow from these, and a hash of all of it. It is
// text, so that every form of body carries it as it stands.
func appendValue(dst []byte, run string, id RecordID, fill int) []byte {
	start := len(dst)
	dst = append(dst, run...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(id.Producer), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(id.Seq), 10)
	dst = append(dst, ' ')
	state := uint64(id.Producer)<<32 | uint64(id.Seq) + 1
	for range fill {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		dst = append(dst, fillAlphabet[state>>58])
	}
	dst = append(dst, ' ')
	return strconv.AppendUint(dst, hashOf(dst[start:len(dst)-1]), 16)
}

// parseValue is the way back; it checks run and hash.
func parseValue(run string, value []byte) (RecordID, error) {
	body := bytes.LastIndexByte(value, ' ')
	if body < 0 {
		return RecordID{}, errForeignValue
	}
	fields := bytes.SplitN(value[:body], []byte(" "), 4)
	hash, err := strconv.ParseUint(string(value[body+1:]), 16, 64)
	if err != nil || len(fields) != 4 || string(fields[0]) != run || hash != hashOf(value[:body]) {
		return RecordID{}, errForeignValue
	}
	producer, errProducer := strconv.ParseUint(string(fields[1]), 10, 32)
	seq, errSeq := strconv.ParseUint(string(fields[2]), 10, 32)
	if err := errors.Join(errProducer, errSeq); err != nil {
		return RecordID{}, fmt.Errorf("%w: %w", errForeignValue, err)
	}
	return RecordID{Producer: uint32(producer), Seq: uint32(seq)}, nil
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// Record is a record as a node served it.
type Record struct {
	Offset int64
	ID     RecordID
	Digest uint64 // of timestamp and value
}

func digestOf(timestamp int64, value []byte) uint64 {
	h := fnv.New64a()
	var time [8]byte
	binary.LittleEndian.PutUint64(time[:], uint64(timestamp))
	_, _ = h.Write(time[:])
	_, _ = h.Write(value)
	return h.Sum64()
}
