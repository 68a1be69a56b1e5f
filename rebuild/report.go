package rebuild

import "fmt"

// Report is what a rebuilt catalog holds, and what is not known of it.
type Report struct {
	Slot      uint64 `json:"slot"` // of the snapshot
	Time      int64  `json:"time"` // ms; the journal's
	ClusterID string `json:"cluster_id"`

	Topics     []Topic `json:"topics"`
	Partitions int64   `json:"partitions"`
	Records    int64   `json:"records"`
	Extents    int64   `json:"extents"`
	Segments   int64   `json:"segments"` // with records in the log
	Bytes      int64   `json:"bytes"`    // of these
	Nodes      int64   `json:"nodes"`
	Producers  int64   `json:"producers"` // that have not expired

	// LeftOut are segments of which nothing is in the catalog, the first
	// leftOutMax of them.
	LeftOut      []LeftOut `json:"left_out"`
	LeftOutCount int64     `json:"left_out_count"`

	// Lost are partitions of which compacted segments are gone, so that what was
	// before them cannot be in the log.
	Lost []LostOffsets `json:"lost"`

	// PlacedByCount is how many runs of segments stand between or before compacted
	// records because they are as many as are missing there.
	PlacedByCount int64 `json:"placed_by_count"`

	Duplicates   int64 `json:"duplicate_batches"`    // that a producer sent again
	OutOfOrder   int64 `json:"out_of_order_batches"` // that came before others of their producer, or of a lower epoch
	SequenceGaps int64 `json:"sequence_gaps"`        // where batches of a producer are missing
	NumberGaps   int64 `json:"number_gaps"`          // where segments of a node are missing
	// OpenOrder is how often, in a partition, segments of two nodes follow each
	// other with nothing but the time of sealing to say which was first, and
	// OpenPartitions in how many partitions.
	OpenOrder      int64 `json:"open_order"`
	OpenPartitions int64 `json:"open_partitions"`
	// Contradictions is how often numbers and sequences bound segments to each
	// other in a circle, which was cut by the time of sealing.
	Contradictions int64 `json:"contradictions"`

	Unknown []string `json:"unknown"` // in words
}

// Topic is one that was rebuilt.
type Topic struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int32  `json:"partitions"`
	Records    int64  `json:"records"`
}

// LostOffsets says that a partition begins at Before because offsets right below
// are lost, and that Records records with lower offsets are left out, which are in
// the store.
type LostOffsets struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int64  `json:"before"`
	Records   int64  `json:"records"`
}

// LeftOut is an object of which nothing is in the catalog.
type LeftOut struct {
	Key    string `json:"key"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

func (r *Report) leaveOut(key string, size int64, format string, args ...any) {
	if r.LeftOutCount++; len(r.LeftOut) < leftOutMax {
		r.LeftOut = append(r.LeftOut, LeftOut{Key: key, Bytes: size, Reason: fmt.Sprintf(format, args...)})
	}
}

// explain puts into words what is not known.
func (r *Report) explain() {
	say := func(format string, args ...any) { r.Unknown = append(r.Unknown, fmt.Sprintf(format, args...)) }
	say("Whether a segment was committed: one whose upload was the last that its node did is in the log, though its records may never have been acknowledged.")
	say("Which requests of a segment were refused or withdrawn (for an expected offset, a fencing token, an idempotency key sent again, or a deadline): their records are in the log, unless they are an idempotent producer's.")
	say("What was dropped: records below a trimmed log start or past their retention are back if their segments still are.")
	if r.NumberGaps > 0 {
		say("What was in segments that are gone: the numbers of nodes have %d gaps. Where records of a partition are missing that lay before others, its offsets are lower than they were.", r.NumberGaps)
	} else {
		say("Whether there were nodes of which no segment is left: the numbers of the others have no gap. If there were none, and nothing was refused, a partition that only one node wrote at a time has the offsets that it had.")
	}
	if r.PlacedByCount > 0 {
		say("Whether the records of %d runs belong where they stand: they fill offsets that compacted segments leave open, by their number alone.", r.PlacedByCount)
	}
	for _, l := range r.Lost {
		say("What was right below offset %d of %s/%d: the partition begins there, and %d records with lower offsets are left out, though they are in the store.", l.Before, l.Topic, l.Partition, l.Records)
	}
	if r.SequenceGaps > 0 {
		say("What idempotent producers sent at %d places where their sequences have gaps.", r.SequenceGaps)
	}
	if r.OpenOrder > 0 {
		say("The order of commits of different nodes: at %d places in %d partitions it goes by the time at which segments were sealed; offsets there may have been given out in another order.", r.OpenOrder, r.OpenPartitions)
	}
	if r.Contradictions > 0 {
		say("The order of %d segments whose numbers and sequences contradict each other.", r.Contradictions)
	}
	say("Topics without records, and partitions above the last with records: they have to be created again, and partitions raised, before anything is produced by key.")
	say("Topics that were deleted: one whose name no newer topic took is back if its segments still are.")
	say("Settings of topics: all have the defaults, so nothing expires.")
	say("When records were committed: retention by time counts from now.")
	say("Committed offsets and members of consumer groups, fencing tokens, idempotency keys of requests, and producer epochs that were given out and not used yet.")
	say("Which producer ids were given out without a batch in the log: %d ids are left out.", producerIDsSkipped)
}
