package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// recordDigest is a checksum over the keys and values of the records of each
// partition in order. Two logs with the same digest hold the same records, and
// those of each key in the same order. Different partitions may be added to at
// once by different goroutines.
type recordDigest struct {
	partitions []partitionDigest
}

type partitionDigest struct {
	count   int64
	hash    hash.Hash
	scratch [2 * binary.MaxVarintLen64]byte
}

func newRecordDigest(partitions int32) *recordDigest {
	d := &recordDigest{partitions: make([]partitionDigest, partitions)}
	for i := range d.partitions {
		d.partitions[i].hash = sha256.New()
	}
	return d
}

// add takes in one record: the lengths of key and value, -1 for null, as
// varints, and then their bytes. So no two sequences of records look alike.
func (d *recordDigest) add(partition int32, key, value []byte) {
	p := &d.partitions[partition]
	p.count++
	lengths := binary.AppendVarint(p.scratch[:0], nullableLen(key))
	lengths = binary.AppendVarint(lengths, nullableLen(value))
	// A hash never returns an error.
	_, _ = p.hash.Write(lengths)
	_, _ = p.hash.Write(key)
	_, _ = p.hash.Write(value)
}

func nullableLen(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}

// print writes a line for each partition and one for all of them.
func (d *recordDigest) print(w io.Writer) error {
	total, all := int64(0), sha256.New()
	for i := range d.partitions {
		p := &d.partitions[i]
		sum := p.hash.Sum(nil)
		total += p.count
		_, _ = all.Write(sum)
		if _, err := fmt.Fprintf(w, "partition %d: %d records sha256 %x\n", i, p.count, sum); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "all: %d records sha256 %x\n", total, all.Sum(nil))
	return err
}
