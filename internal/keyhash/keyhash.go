// Package keyhash chooses the partition of a key, for nodes and clients alike: a
// key must go to the same one whoever chooses.
package keyhash

import "encoding/binary"

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
