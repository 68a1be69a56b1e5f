package tiering

import (
	"errors"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// CompactorConfig says what a Compactor joins, and at whose expense.
type CompactorConfig struct {
	// Interval is the pause between looks at the topics.
	Interval time.Duration
	// MinAge is the age from which on an extent is compacted, counted from its
	// commit: what is younger is read from caches.
	MinAge time.Duration
	// JobExtentsMin and JobBytesMin are what makes a job worth its requests: an
	// upload, three entries of the journal, and reads. Fewer are compacted once the
	// oldest has waited for Patience.
	JobExtentsMin int
	JobBytesMin   int64
	Patience      time.Duration

	// TargetBytes is the size at which a compacted segment is full. A single run of
	// extents may exceed it.
	TargetBytes int64
	// ExtentBytesMax bounds an extent of compacted records: what a trim or
	// retention may leave behind of a partition. Smaller ones are joined up to it.
	ExtentBytesMax int64
	// FanIn is the fewest extents that are joined into one.
	FanIn int

	// StreamBytesMin is the length from which on an extent is read when its turn
	// comes, with a request of its own. Smaller ones are read beforehand, many
	// with one request, and held.
	StreamBytesMin int64
	// BufferBytes bounds the extents that a job holds.
	BufferBytes int64
	// ReadBytesMax bounds the bytes of one GET.
	ReadBytesMax int64
	// ReadsInFlight is the greatest number of GETs under way.
	ReadsInFlight int
	// BatchesMax bounds the batches of a compacted segment, of which its index has
	// 40 bytes each in memory.
	BatchesMax int

	// BytesPerSecond bounds what is read from the store; what is written is as
	// much, and what is read again to check it.
	BytesPerSecond int64
	// BusyShare is the part of BytesPerSecond that is left while the node is busy
	// with its clients, within (0, 1]. It is not nothing, since a node that is
	// always busy needs compaction most.
	BusyShare float64

	// LeaseTime is for how long of journal time a job has its topic before it must
	// say again that it is at work. After a crash others wait for so long.
	LeaseTime time.Duration
	// JobTimeout is when a job gives up. It must be well below the age from which
	// on uploads that nobody committed are deleted.
	JobTimeout time.Duration
	// RequestTimeout is how long a request to the store or the catalog may take, or
	// an upload may stand still.
	RequestTimeout time.Duration

	// JobsPerRound and JobsPerTopic bound the jobs between two pauses.
	JobsPerRound int
	JobsPerTopic int
	// DamagedMax bounds the damaged objects that are remembered, to be left alone.
	DamagedMax int
}

// DefaultCompactorConfig returns the values that production uses.
func DefaultCompactorConfig() CompactorConfig {
	return CompactorConfig{
		Interval:       10 * time.Second,
		MinAge:         10 * time.Minute,
		JobExtentsMin:  256,
		JobBytesMin:    64 << 20,
		Patience:       time.Hour,
		TargetBytes:    512 << 20,
		ExtentBytesMax: 64 << 20,
		FanIn:          8,
		StreamBytesMin: 128 << 10,
		BufferBytes:    32 << 20,
		ReadBytesMax:   4 << 20,
		ReadsInFlight:  4,
		BatchesMax:     250_000,
		BytesPerSecond: 64 << 20,
		BusyShare:      0.125,
		LeaseTime:      time.Minute,
		JobTimeout:     12 * time.Hour,
		RequestTimeout: 30 * time.Second,
		JobsPerRound:   64,
		JobsPerTopic:   8,
		DamagedMax:     10_000,
	}
}

// Validate reports every value that makes no sense.
func (c CompactorConfig) Validate() error {
	var errs []error
	check := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New("compactor: "+message))
		}
	}
	check(c.Interval > 0, "Interval must be positive")
	check(c.MinAge >= 0, "MinAge must not be negative")
	check(c.JobExtentsMin >= 0 && c.JobBytesMin >= 0, "JobExtentsMin and JobBytesMin must not be negative")
	check(c.Patience >= 0, "Patience must not be negative")
	check(c.TargetBytes > 0, "TargetBytes must be positive")
	check(c.ExtentBytesMax > 0, "ExtentBytesMax must be positive")
	check(c.FanIn >= 2 && c.FanIn <= catalog.CompactExtentsMax, "FanIn must be at least 2, and no more than one edit replaces")
	check(c.StreamBytesMin > 0 && c.StreamBytesMin <= catalog.ExtentCRCLenMax+1, "StreamBytesMin must be positive and at most a byte above a block")
	check(c.BufferBytes >= c.StreamBytesMin, "BufferBytes must not be below StreamBytesMin")
	check(c.ReadBytesMax >= catalog.ExtentCRCLenMax, "ReadBytesMax must be at least a block")
	check(c.ReadsInFlight > 0, "ReadsInFlight must be positive")
	check(c.BatchesMax > 0, "BatchesMax must be positive")
	check(c.BytesPerSecond > 0, "BytesPerSecond must be positive")
	check(c.BusyShare > 0 && c.BusyShare <= 1, "BusyShare must be within 0 and 1")
	check(c.LeaseTime > 0 && c.LeaseTime.Milliseconds() <= catalog.CompactionLeaseMsMax, "LeaseTime must be positive and at most what the catalog gives")
	check(c.JobTimeout > 0, "JobTimeout must be positive")
	check(c.RequestTimeout > 0, "RequestTimeout must be positive")
	check(c.JobsPerRound > 0 && c.JobsPerTopic > 0, "JobsPerRound and JobsPerTopic must be positive")
	check(c.DamagedMax > 0, "DamagedMax must be positive")
	return errors.Join(errs...)
}
