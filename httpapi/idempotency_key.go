package httpapi

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// idempotencyKeyLenMax bounds an Idempotency-Key, in characters.
const idempotencyKeyLenMax = 128

// idempotencyKey reads the header of that name; "" if it is not there.
func (p *produceRequest) idempotencyKey() (string, error) {
	const name = "Idempotency-Key"
	key, ok, err := singleHeader(p.r.Header, name)
	if !ok {
		return "", err
	}
	valid := key != "" && len(key) <= idempotencyKeyLenMax
	for i := 0; i < len(key) && valid; i++ {
		valid = key[i] >= ' ' && key[i] <= '~'
	}
	if !valid {
		return "", headerf(name, "must be 1 to %d printable ASCII characters", idempotencyKeyLenMax)
	}
	if p.media == mediaNDJSON {
		return "", headerf(name, "does not go with %s, which is committed in chunks; send %s", mediaNDJSON, mediaJSON)
	}
	return key, nil
}

// identify notes what the request says, if it has an idempotency key: the body
// as it was sent, and whatever else goes into the records. Conditions do not
// count: a repeat may come with another Expected-Offset.
func (p *produceRequest) identify(body []byte, headers []recordbatch.RecordHeader) {
	if p.opts.Key.Name == "" {
		return
	}
	h := sha256.New()
	hashNumber(h, uint64(p.partition))
	switch p.media {
	case mediaJSON, mediaRecordBatch:
		hashField(h, []byte(p.media))
	default: // a raw record, whose media type is not stored
		hashField(h, nil)
		hashNumber(h, uint64(len(headers)))
		for i := range headers {
			hashField(h, []byte(headers[i].Key))
			hashField(h, headers[i].Value)
		}
		if p.hasKey {
			hashField(h, []byte(p.key))
		}
	}
	hashField(h, body)
	p.opts.Key.Request = [16]byte(h.Sum(nil))
}

func hashNumber(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

// hashField hashes bytes after their length, so that no two fields run together.
func hashField(h hash.Hash, b []byte) {
	hashNumber(h, uint64(len(b)))
	h.Write(b)
}
