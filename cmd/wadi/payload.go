package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// payloadBytes is about how much distinct data a load is made of, so that
// nothing on the way finds it by heart.
const payloadBytes = 32 << 20

// payloads makes values of records. It is for one goroutine.
type payloads struct {
	random *rand.Rand
	size   int
	kind   string // "random" or "log"
	text   bool   // valid UTF-8 without line ends
}

// randomText are the letters of random text: 6 bits each, none that JSON escapes.
const randomText = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (p *payloads) next() []byte {
	if p.kind == "log" {
		return p.logLine()
	}
	value := make([]byte, p.size)
	for i := 0; i < len(value); i += 8 {
		n := p.random.Uint64()
		for j := i; j < min(i+8, len(value)); j++ {
			value[j] = byte(n)
			if p.text {
				value[j] = randomText[n%uint64(len(randomText))]
			}
			n >>= 8
		}
	}
	return value
}

// logLine is a line as services write them, in JSON.
func (p *payloads) logLine() []byte {
	methods := []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	levels := []string{"info", "info", "info", "debug", "warn", "error"}
	words := []string{"accepted", "upstream", "connection", "reset", "by", "peer", "cache", "miss", "for", "key", "retrying",
		"request", "after", "timeout", "user", "session", "expired", "order", "created", "payment", "queued"}
	pick := func(from []string) string { return from[p.random.IntN(len(from))] }
	line := fmt.Appendf(nil, `{"time":"2026-01-02T%02d:%02d:%02d.%06dZ","level":%q,"host":"web-%02d","trace":"%016x","method":%q,"path":"/api/v1/%s/%d","status":%d,"took_us":%d,"message":"`,
		p.random.IntN(24), p.random.IntN(60), p.random.IntN(60), p.random.IntN(1e6), pick(levels), p.random.IntN(40), p.random.Uint64(),
		pick(methods), pick(words), p.random.IntN(1e6), 200+p.random.IntN(4)*100, p.random.IntN(1e6))
	for len(line)+2 < p.size {
		line = append(append(line, pick(words)...), ' ')
	}
	// A line shorter than its fixed part is cut, and no JSON any more.
	line = line[:max(0, min(len(line), p.size-2))]
	return append(line, `"}`...)[:min(len(line)+2, p.size)]
}

// body is one request's worth of records, ready to be sent.
type body struct {
	bytes   []byte
	records int
	logical int64 // bytes of the values
}

// bodyMaker makes the bodies of a load.
type bodyMaker struct {
	payloads
	format  string // of the --format flag
	records int    // in one body
	codec   recordbatch.Codec
}

// bodies makes distinct bodies, payloadBytes of them at most, two at least.
func (m *bodyMaker) bodies() ([]body, error) {
	count := min(max(2, payloadBytes/max(1, m.records*m.size)), 1024)
	bodies := make([]body, count)
	for i := range bodies {
		var err error
		if bodies[i], err = m.body(); err != nil {
			return nil, err
		}
	}
	return bodies, nil
}

func (m *bodyMaker) body() (body, error) {
	b := body{records: m.records}
	values := make([][]byte, m.records)
	for i := range values {
		values[i] = m.next()
		b.logical += int64(len(values[i]))
	}
	switch m.format {
	case formatRaw:
		b.bytes = values[0]
	case formatNDJSON:
		b.bytes = append(bytes.Join(values, []byte{'\n'}), '\n')
	case formatJSON:
		b.bytes = append(b.bytes, `{"records":[`...)
		for i, value := range values {
			if i > 0 {
				b.bytes = append(b.bytes, ',')
			}
			b.bytes = appendJSONText(append(b.bytes, `{"key":"`+strconv.Itoa(i)+`","value":`...), value)
			b.bytes = append(b.bytes, '}')
		}
		b.bytes = append(b.bytes, "]}"...)
	default:
		records := make([]recordbatch.Record, len(values))
		now := time.Now().UnixMilli()
		for i, value := range values {
			records[i] = recordbatch.Record{Timestamp: now, Value: value}
		}
		var err error
		if b.bytes, err = recordbatch.Append(nil, records, m.codec, recordbatch.NoProducer); err != nil {
			return b, err
		}
	}
	return b, nil
}
