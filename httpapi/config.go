package httpapi

import (
	"fmt"
	"time"
)

// Config bounds what the HTTP interface takes and how long it waits.
type Config struct {
	// Version is that of the binary, as the API's description names it.
	Version string

	// AutoCreateTopics makes a topic with DefaultPartitions when records are
	// produced to one that does not exist.
	AutoCreateTopics bool
	// DefaultPartitions is what a topic gets that is created without a number.
	DefaultPartitions int32
	// PartitionsMax bounds the partitions of one topic.
	PartitionsMax int32

	// JSONBodyBytesMax bounds a produce request's JSON body.
	JSONBodyBytesMax int64
	// BatchBodyBytesMax bounds a produce request's body of record batches.
	BatchBodyBytesMax int64
	// SettingsBodyBytesMax bounds the bodies of all requests that carry no records.
	SettingsBodyBytesMax int64
	// RecordsMax bounds the records of one produce request; of an NDJSON body
	// it bounds nothing, ChunkRecordsMax does.
	RecordsMax int
	// RecordHeadersMax bounds the headers of one record.
	RecordHeadersMax int

	// ChunkBytesMax and ChunkRecordsMax cut an NDJSON body into chunks; a single
	// line may be longer.
	ChunkBytesMax   int
	ChunkRecordsMax int
	// ChunkLinger cuts a chunk that has waited so long for its next line.
	ChunkLinger time.Duration
	// ChunksInFlightMax bounds the chunks of one NDJSON body that are being
	// committed at the same time.
	ChunksInFlightMax int

	// DecodersBytesMax bounds what the decoders of encoded bodies take up, those of
	// records within the node's budget for records. Beyond it requests with encoded
	// bodies get 503.
	DecodersBytesMax int64
	// EncodersMax bounds the answers that are being encoded, of which each takes
	// about EncoderBytes. Beyond it answers go out as they are.
	EncodersMax int
	// EncodeBytesMin is the length from which on an answer is worth encoding.
	EncodeBytesMin int

	// FetchBytes is max_bytes where a fetch does not give it; FetchBytesMax
	// bounds it. Both count batches as they are stored.
	FetchBytes    int
	FetchBytesMax int
	// FetchRecordsMax bounds max_records.
	FetchRecordsMax int
	// FetchPartitionsMax bounds the partitions of one fetch, FetchParallel those
	// of them that are read at the same time, FetchBodyBytesMax the body that
	// names them.
	FetchPartitionsMax int
	FetchParallel      int
	FetchBodyBytesMax  int64
	// FetchWaitMax bounds max_wait_ms.
	FetchWaitMax time.Duration

	// ManifestRanges is max_ranges where a manifest's request does not give it;
	// ManifestRangesMax bounds it.
	ManifestRanges    int
	ManifestRangesMax int

	// SessionTimeout is the session timeout of a group's member that does not
	// give one.
	SessionTimeout time.Duration
	// PollPartitionsMax bounds the partitions of a group's member that polls, and
	// PollBodyBytesMax the body with its offsets. The latter also bounds a body of
	// offsets alone.
	PollPartitionsMax int
	PollBodyBytesMax  int64

	// DecompressedBytesMax bounds the records of one batch while it is decoded.
	// It must not be less than what ingest accepts.
	DecompressedBytesMax int
	// DecodingBytesMax bounds the decompressed records of all batches that are
	// being decoded; fetches wait for their share of it.
	DecodingBytesMax int64
	// FetchedBytesMax bounds the batches of all answers that are being fetched
	// or written. One answer gets an eighth of it at most, whatever its
	// max_bytes, but for its first batch.
	// Beyond it fetches get 503.
	FetchedBytesMax int64

	// StreamsMax bounds the streams that are open. Beyond it they get 503.
	StreamsMax int
	// StreamBufferBytes is how much text a stream gathers before it sends it. It
	// is what a slow reader at the tail holds, and about the size of an event; a
	// single record may take more.
	StreamBufferBytes int
	// StreamedBytesMax bounds the batches that all streams hold while they fetch
	// and decode; they wait for their share of it.
	StreamedBytesMax int64
	// StreamPing is the longest time in which a stream sends nothing.
	StreamPing time.Duration
	// StreamWriteTimeout is the time in which the reader of a stream must take
	// the next part. It is shorter than WriteTimeout, as others may wait for the
	// memory.
	StreamWriteTimeout time.Duration

	// PageSize is page_size where a listing does not give it; PageSizeMax bounds it.
	PageSize    int
	PageSizeMax int

	// RequestTimeout bounds the work of a request, without the reading of its
	// body and the wait of a long poll.
	RequestTimeout time.Duration
	// BodyGrace and BodyBytesPerSecondMin bound the reading of a body: after t
	// seconds of waiting for it, (t - BodyGrace) * BodyBytesPerSecondMin bytes
	// must be there. An NDJSON body begins anew with each line.
	BodyGrace             time.Duration
	BodyBytesPerSecondMin int64
	// WriteTimeout bounds the time in which a client must take the next part of an answer.
	WriteTimeout time.Duration
	// LingerBytesMax and LingerTimeout bound what is read, and thrown away, of a
	// body that was refused, so that its sender gets to read the answer.
	LingerBytesMax int64
	LingerTimeout  time.Duration

	// ReadHeaderTimeout bounds the reading of a request's headers, IdleTimeout
	// the life of an idle connection, HeaderBytesMax the size of the headers.
	ReadHeaderTimeout time.Duration
	IdleTimeout       time.Duration
	HeaderBytesMax    int

	// OpenRequestsMax bounds the requests that are being served. Beyond it they
	// get 503, except for /healthz, /readyz and /metrics.
	OpenRequestsMax int
	// ConnectionsMax bounds the open connections. Beyond it requests get 503
	// with the same exceptions; beyond twice as many, connections are closed.
	ConnectionsMax int
	// AccessLog logs every request at level info, not at debug.
	AccessLog bool
	// RetryAfter is what a 503 of this package suggests.
	RetryAfter time.Duration
}

// DefaultConfig returns the limits that HTTP clients are promised.
func DefaultConfig() Config {
	return Config{
		Version: "dev",

		DefaultPartitions: 1,
		PartitionsMax:     10_000,

		JSONBodyBytesMax:     16 << 20,
		BatchBodyBytesMax:    16 << 20,
		SettingsBodyBytesMax: 64 << 10,
		RecordsMax:           100_000,
		RecordHeadersMax:     100,

		ChunkBytesMax:     1 << 20,
		ChunkRecordsMax:   10_000,
		ChunkLinger:       50 * time.Millisecond,
		ChunksInFlightMax: 8,

		DecodersBytesMax: 64 << 20,
		EncodersMax:      32,
		EncodeBytesMin:   1 << 10,

		FetchBytes:           1 << 20,
		FetchBytesMax:        64 << 20,
		FetchRecordsMax:      1_000_000,
		FetchPartitionsMax:   1000,
		FetchParallel:        8,
		FetchBodyBytesMax:    512 << 10,
		FetchWaitMax:         30 * time.Second,
		ManifestRanges:       1000,
		ManifestRangesMax:    10_000,
		SessionTimeout:       30 * time.Second,
		PollPartitionsMax:    10_000,
		PollBodyBytesMax:     4 << 20,
		DecompressedBytesMax: 64 << 20,
		DecodingBytesMax:     128 << 20,
		FetchedBytesMax:      256 << 20,

		StreamsMax:         2048,
		StreamBufferBytes:  32 << 10,
		StreamedBytesMax:   32 << 20,
		StreamPing:         15 * time.Second,
		StreamWriteTimeout: 10 * time.Second,

		PageSize:    100,
		PageSizeMax: 1000,

		RequestTimeout:        30 * time.Second,
		BodyGrace:             10 * time.Second,
		BodyBytesPerSecondMin: 16 << 10,
		WriteTimeout:          30 * time.Second,
		LingerBytesMax:        1 << 20,
		LingerTimeout:         time.Second,

		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HeaderBytesMax:    64 << 10,

		OpenRequestsMax: 4096,
		ConnectionsMax:  8192,
		RetryAfter:      time.Second,
	}
}

// Validate tells what is wrong with c.
func (c Config) Validate() error {
	positive := []struct {
		name  string
		value int64
	}{
		{"DefaultPartitions", int64(c.DefaultPartitions)},
		{"PartitionsMax", int64(c.PartitionsMax)},
		{"JSONBodyBytesMax", c.JSONBodyBytesMax},
		{"BatchBodyBytesMax", c.BatchBodyBytesMax},
		{"SettingsBodyBytesMax", c.SettingsBodyBytesMax},
		{"RecordsMax", int64(c.RecordsMax)},
		{"RecordHeadersMax", int64(c.RecordHeadersMax)},
		{"ChunkBytesMax", int64(c.ChunkBytesMax)},
		{"ChunkRecordsMax", int64(c.ChunkRecordsMax)},
		{"ChunkLinger", int64(c.ChunkLinger)},
		{"ChunksInFlightMax", int64(c.ChunksInFlightMax)},
		{"DecodersBytesMax", c.DecodersBytesMax},
		{"EncodersMax", int64(c.EncodersMax)},
		{"EncodeBytesMin", int64(c.EncodeBytesMin)},
		{"FetchBytes", int64(c.FetchBytes)},
		{"FetchBytesMax", int64(c.FetchBytesMax)},
		{"FetchRecordsMax", int64(c.FetchRecordsMax)},
		{"FetchPartitionsMax", int64(c.FetchPartitionsMax)},
		{"FetchParallel", int64(c.FetchParallel)},
		{"FetchBodyBytesMax", c.FetchBodyBytesMax},
		{"FetchWaitMax", int64(c.FetchWaitMax)},
		{"ManifestRanges", int64(c.ManifestRanges)},
		{"ManifestRangesMax", int64(c.ManifestRangesMax)},
		{"SessionTimeout", int64(c.SessionTimeout)},
		{"PollPartitionsMax", int64(c.PollPartitionsMax)},
		{"PollBodyBytesMax", c.PollBodyBytesMax},
		{"DecompressedBytesMax", int64(c.DecompressedBytesMax)},
		{"DecodingBytesMax", c.DecodingBytesMax},
		{"FetchedBytesMax", c.FetchedBytesMax},
		{"StreamsMax", int64(c.StreamsMax)},
		{"StreamBufferBytes", int64(c.StreamBufferBytes)},
		{"StreamedBytesMax", c.StreamedBytesMax},
		{"StreamPing", int64(c.StreamPing)},
		{"StreamWriteTimeout", int64(c.StreamWriteTimeout)},
		{"PageSize", int64(c.PageSize)},
		{"PageSizeMax", int64(c.PageSizeMax)},
		{"RequestTimeout", int64(c.RequestTimeout)},
		{"BodyGrace", int64(c.BodyGrace)},
		{"BodyBytesPerSecondMin", c.BodyBytesPerSecondMin},
		{"WriteTimeout", int64(c.WriteTimeout)},
		{"LingerBytesMax", c.LingerBytesMax},
		{"LingerTimeout", int64(c.LingerTimeout)},
		{"ReadHeaderTimeout", int64(c.ReadHeaderTimeout)},
		{"IdleTimeout", int64(c.IdleTimeout)},
		{"HeaderBytesMax", int64(c.HeaderBytesMax)},
		{"OpenRequestsMax", int64(c.OpenRequestsMax)},
		{"ConnectionsMax", int64(c.ConnectionsMax)},
		{"RetryAfter", int64(c.RetryAfter)},
	}
	for _, p := range positive {
		if p.value <= 0 {
			return fmt.Errorf("httpapi: %s must be positive, not %d", p.name, p.value)
		}
	}
	atMost := []struct {
		name, limitName string
		value, limit    int64
	}{
		{"DefaultPartitions", "PartitionsMax", int64(c.DefaultPartitions), int64(c.PartitionsMax)},
		{"FetchBytes", "FetchBytesMax", int64(c.FetchBytes), int64(c.FetchBytesMax)},
		{"ManifestRanges", "ManifestRangesMax", int64(c.ManifestRanges), int64(c.ManifestRangesMax)},
		{"DecompressedBytesMax", "DecodingBytesMax", int64(c.DecompressedBytesMax), c.DecodingBytesMax},
		{"PageSize", "PageSizeMax", int64(c.PageSize), int64(c.PageSizeMax)},
	}
	for _, p := range atMost {
		if p.value > p.limit {
			return fmt.Errorf("httpapi: %s is %d, over %s of %d", p.name, p.value, p.limitName, p.limit)
		}
	}
	return nil
}
