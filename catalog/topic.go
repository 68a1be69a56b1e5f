package catalog

// Unlimited is -1, Kafka's word for no limit.
const Unlimited = -1

// TopicConfig is a topic's settings, under Kafka's names.
type TopicConfig struct {
	RetentionMs          int64           // retention.ms; Unlimited by default
	RetentionBytes       int64           // retention.bytes, per partition; Unlimited by default
	MaxMessageBytes      int32           // max.message.bytes; 1 MiB by default
	CompressionType      CompressionType // compression.type
	MessageTimestampType TimestampType   // message.timestamp.type
}

// CompressionType is how batches that the server builds are compressed.
// Batches that a client built are kept as they are.
type CompressionType uint8

// The values of compression.type. With CompressProducer, what the server
// builds is compressed with lz4.
const (
	CompressProducer CompressionType = iota
	CompressNone
	CompressGzip
	CompressSnappy
	CompressLZ4
	CompressZstd
)

// TimestampType is whose clock stamps records.
type TimestampType uint8

// The values of message.timestamp.type.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// DefaultTopicConfig returns the settings of a topic created without any.
func DefaultTopicConfig() TopicConfig {
	return TopicConfig{
		RetentionMs:     Unlimited,
		RetentionBytes:  Unlimited,
		MaxMessageBytes: 1 << 20,
	}
}

// SetConfig sets one setting by its Kafka name from its text ("604800000",
// "zstd"), or returns a *ConfigError.
func (c *TopicConfig) Set(key, value string) error { panic("stub") }

// Map returns all settings by their Kafka names, as text.
func (c TopicConfig) Map() map[string]string { panic("stub") }

// ConfigError is a setting that does not exist or a value that it cannot have.
type ConfigError struct {
	Key    string
	Value  string
	Reason string
}

func (e *ConfigError) Error() string {
	return "config " + e.Key + "=" + e.Value + ": " + e.Reason
}

// Topic is a topic. It is immutable: a change puts another in its place.
type Topic struct {
	ID         TopicID
	Name       string
	Partitions int32
	Config     TopicConfig
}
