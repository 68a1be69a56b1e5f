package recordbatch

import (
	"fmt"
	"slices"
)

// Codec is the compression of a batch's records, as in the low three bits of
// its attributes.
type Codec uint8

// The codecs of Kafka's protocol.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// codecNames holds the values of compression.type, by codec.
var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// ParseCodec reads a value of the topic setting compression.type other than
// "producer". The error is ErrCodec.
func ParseCodec(name string) (Codec, error) {
	i := slices.Index(codecNames[:], name)
	if i < 0 {
		return None, fmt.Errorf("%w %q", ErrCodec, name)
	}
	return Codec(i), nil
}

// String is the codec's name in the topic setting compression.type.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}
