package catalog

import (
	"fmt"
	"math"
	"strconv"
)

// Unlimited is -1, Kafka's word for no limit.
const Unlimited = -1

// MessageBytesMax bounds max.message.bytes: every node must be able to hold a
// few of the largest records in memory.
const MessageBytesMax = 64 << 20

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

func (t CompressionType) String() string { return nameOf(compressionNames[:], t) }

var compressionNames = [...]string{"producer", "none", "gzip", "snappy", "lz4", "zstd"}

// TimestampType is whose clock stamps records.
type TimestampType uint8

// The values of message.timestamp.type.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

func (t TimestampType) String() string { return nameOf(timestampNames[:], t) }

var timestampNames = [...]string{"CreateTime", "LogAppendTime"}

// nameOf returns the name of an enumeration's value.
func nameOf[T ~uint8](names []string, value T) string {
	if int(value) < len(names) {
		return names[value]
	}
	return fmt.Sprintf("unknown (%d)", value)
}

// DefaultTopicConfig returns the settings of a topic created without any.
func DefaultTopicConfig() TopicConfig {
	return TopicConfig{
		RetentionMs:     Unlimited,
		RetentionBytes:  Unlimited,
		MaxMessageBytes: 1 << 20,
	}
}

// The names of the settings.
const (
	configRetentionMs          = "retention.ms"
	configRetentionBytes       = "retention.bytes"
	configMaxMessageBytes      = "max.message.bytes"
	configCompressionType      = "compression.type"
	configMessageTimestampType = "message.timestamp.type"
)

// SetConfig sets one setting by its Kafka name from its text ("604800000",
// "zstd"), or returns a *ConfigError.
func (c *TopicConfig) SetConfig(key, value string) error {
	var reason string
	switch key {
	case configRetentionMs:
		reason = setNumber(&c.RetentionMs, value, Unlimited, math.MaxInt64)
	case configRetentionBytes:
		reason = setNumber(&c.RetentionBytes, value, Unlimited, math.MaxInt64)
	case configMaxMessageBytes:
		reason = setNumber(&c.MaxMessageBytes, value, 1, MessageBytesMax)
	case configCompressionType:
		if value == "uncompressed" { // what Kafka's brokers call none
			value = CompressNone.String()
		}
		reason = setName(&c.CompressionType, value, compressionNames[:])
	case configMessageTimestampType:
		reason = setName(&c.MessageTimestampType, value, timestampNames[:])
	default:
		reason = "there is no such setting"
	}
	if reason != "" {
		return &ConfigError{Key: key, Value: value, Reason: reason}
	}
	return nil
}

// setNumber parses value strictly: what it accepts is how FormatInt writes it.
func setNumber[T int32 | int64](field *T, value string, low, high int64) (reason string) {
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil || strconv.FormatInt(n, 10) != value:
		return "not a whole number"
	case (n < low || n > high) && high == math.MaxInt64:
		return fmt.Sprintf("must be %d or more", low)
	case n < low || n > high:
		return fmt.Sprintf("must be %d to %d", low, high)
	}
	*field = T(n)
	return ""
}

func setName[T ~uint8](field *T, value string, names []string) (reason string) {
	for i, name := range names {
		if name == value {
			*field = T(i)
			return ""
		}
	}
	return fmt.Sprintf("must be one of %q", names)
}

// Map returns all settings by their Kafka names, as text.
func (c TopicConfig) Map() map[string]string {
	return map[string]string{
		configRetentionMs:          strconv.FormatInt(c.RetentionMs, 10),
		configRetentionBytes:       strconv.FormatInt(c.RetentionBytes, 10),
		configMaxMessageBytes:      strconv.FormatInt(int64(c.MaxMessageBytes), 10),
		configCompressionType:      c.CompressionType.String(),
		configMessageTimestampType: c.MessageTimestampType.String(),
	}
}

// valid tells whether every setting has a value that SetConfig could have given it.
func (c TopicConfig) valid() bool {
	return c.RetentionMs >= Unlimited &&
		c.RetentionBytes >= Unlimited &&
		c.MaxMessageBytes >= 1 && c.MaxMessageBytes <= MessageBytesMax &&
		int(c.CompressionType) < len(compressionNames) &&
		int(c.MessageTimestampType) < len(timestampNames)
}

// ConfigError is a setting that does not exist or a value that it cannot have.
type ConfigError struct {
	Key    string
	Value  string
	Reason string
}

func (e *ConfigError) Error() string {
	return "config " + e.Key + "=" + e.Value + ": " + e.Reason
}
