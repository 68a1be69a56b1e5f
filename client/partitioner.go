package client

import "github.com/wadilog/wadi/internal/keyhash"

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
// murmur2, sign bit cleared, modulo the partitions.
func PartitionOf(key []byte, partitions int32) int32 { return keyhash.PartitionOf(key, partitions) }
