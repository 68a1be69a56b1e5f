package catalog

import (
	"errors"
	"testing"
)

func TestSetConfig(t *testing.T) {
	for _, test := range []struct {
		key, value string
		want       string // as Map shows it; "" if refused
	}{
		{"retention.ms", "-1", "-1"},
		{"retention.ms", "0", "0"},
		{"retention.ms", "604800000", "604800000"},
		{"retention.ms", "9223372036854775807", "9223372036854775807"},
		{"retention.ms", "9223372036854775808", ""},
		{"retention.ms", "-2", ""},
		{"retention.ms", "+1", ""},
		{"retention.ms", "01", ""},
		{"retention.ms", "-0", ""},
		{"retention.ms", " 1", ""},
		{"retention.ms", "1_000", ""},
		{"retention.ms", "0x10", ""},
		{"retention.ms", "7d", ""},
		{"retention.ms", "", ""},
		{"retention.bytes", "-1", "-1"},
		{"retention.bytes", "1073741824", "1073741824"},
		{"retention.bytes", "1.5", ""},
		{"max.message.bytes", "1", "1"},
		{"max.message.bytes", "67108864", "67108864"},
		{"max.message.bytes", "67108865", ""},
		{"max.message.bytes", "0", ""},
		{"max.message.bytes", "-1", ""},
		{"max.message.bytes", "4294967297", ""},
		{"compression.type", "producer", "producer"},
		{"compression.type", "none", "none"},
		{"compression.type", "uncompressed", "none"},
		{"compression.type", "gzip", "gzip"},
		{"compression.type", "snappy", "snappy"},
		{"compression.type", "lz4", "lz4"},
		{"compression.type", "zstd", "zstd"},
		{"compression.type", "ZSTD", ""},
		{"compression.type", "", ""},
		{"message.timestamp.type", "CreateTime", "CreateTime"},
		{"message.timestamp.type", "LogAppendTime", "LogAppendTime"},
		{"message.timestamp.type", "logappendtime", ""},
		{"cleanup.policy", "delete", ""},
		{"", "", ""},
	} {
		c := DefaultTopicConfig()
		err := c.SetConfig(test.key, test.value)
		if test.want == "" {
			var configErr *ConfigError
			if !errors.As(err, &configErr) || configErr.Key != test.key || configErr.Reason == "" {
				t.Errorf("SetConfig(%q, %q) = %v", test.key, test.value, err)
			}
			if c != DefaultTopicConfig() {
				t.Errorf("SetConfig(%q, %q) was refused and changed the settings", test.key, test.value)
			}
			continue
		}
		if got := c.Map()[test.key]; err != nil || got != test.want {
			t.Errorf("SetConfig(%q, %q): %v, and shows %q", test.key, test.value, err, got)
		}
		if !c.valid() {
			t.Errorf("SetConfig(%q, %q) makes settings that are not valid", test.key, test.value)
		}
	}
}

// What Map shows, SetConfig takes.
func TestConfigMapRoundTrip(t *testing.T) {
	want := TopicConfig{RetentionMs: 1, RetentionBytes: 2, MaxMessageBytes: 3, CompressionType: CompressZstd, MessageTimestampType: LogAppendTime}
	got := DefaultTopicConfig()
	for key, value := range want.Map() {
		if err := got.SetConfig(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}
