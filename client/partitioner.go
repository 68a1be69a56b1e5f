package client

import "encoding/binary"

// AnyPartition leaves the choice of a record's partition to the Producer: that
// of the batch which is being filled, so that records without a key travel
// together, and with each batch another.
const AnyPartition = -1

// Partitioner chooses the partition of a record among so many, or AnyPartition.
type Partitioner func(r *Record, partitions int32) int32

// KeyPartitioner sends records with the same key to the same partition, the one
// that Kafka's Java client and Wadi's nodes choose, and others to any.
func KeyPartitioner(r *Record, partitions int32) int32 {
	if r.Key == nil {
		return AnyPartition
	}
	return PartitionOf(r.Key, partitions)
}

// ManualPartitioner takes the Partition that the record names.
func ManualPartitioner(r *Record, _ int32) int32 { return r.Partition }

// PartitionOf returns the partition of a key as Kafka's Java client chooses it:
// murmur2 with seed 0x9747b28c, sign bit cleared, modulo the partitions.
// Source: org.apache.kafka.common.utils.Utils#murmur2 and MurmurHash2 by Austin
// Appleby.
func PartitionOf(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

func murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> r
		h = h*m ^ k*m
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
