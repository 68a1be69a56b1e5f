package segment

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/oklog/ulid/v2"
)

// KeyPrefix begins the key of every segment.
const KeyPrefix = "segments/"

const keySuffix = ".seg"

// Key is the key of a segment: segments/<2 hex>/<ULID>.seg, where the two hex
// digits are the ULID's last byte, which is random and so spreads the load over
// a store's key partitions.
func Key(id ulid.ULID) string {
	b := make([]byte, 0, len(KeyPrefix)+2+1+ulid.EncodedSize+len(keySuffix))
	b = append(b, KeyPrefix...)
	b = hex.AppendEncode(b, id[len(id)-1:])
	b = append(b, '/')
	b = append(b, id.String()...)
	b = append(b, keySuffix...)
	return string(b)
}

// ParseKey is the inverse of Key. It accepts what Key returns and nothing else.
func ParseKey(key string) (ulid.ULID, error) {
	name, ok := strings.CutSuffix(key, keySuffix)
	if !ok || len(name) < ulid.EncodedSize {
		return ulid.ULID{}, fmt.Errorf("key %q is not that of a segment", key)
	}
	id, err := ulid.ParseStrict(name[len(name)-ulid.EncodedSize:])
	if err != nil {
		return ulid.ULID{}, fmt.Errorf("key %q is not that of a segment: %w", key, err)
	}
	// Also refuses the other spellings of a ULID: lower case, and the wrong hex digits.
	if Key(id) != key {
		return ulid.ULID{}, fmt.Errorf("key %q of segment %s ought to be %q", key, id, Key(id))
	}
	return id, nil
}
