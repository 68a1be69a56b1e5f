package httpapi

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Answers are encoded if the client takes it and it is worth it. What is compressed
// already (record batches) goes as it is, and so does what is sent line by line
// (streams, acks of lines): an encoder holds back what it has not enough of.
//
// An answer that is broken off is broken off in the middle of its encoding too: its
// end is written only after the handler has returned without an error.

// EncoderBytes is about what one encoder takes up.
const EncoderBytes = 1 << 20

// zstdAnswerWindow is the window of zstd answers in bytes: small for many readers,
// and no gain for text that repeats itself from record to record.
const zstdAnswerWindow = 128 << 10

// encoder is a *gzip.Writer or a *zstd.Encoder.
type encoder interface {
	io.WriteCloser
	Reset(io.Writer)
}

var encoders = map[coding]*sync.Pool{
	codingGzip: {New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level above is wrong
		}
		return w
	}},
	codingZstd: {New: func() any {
		// One at a time is without goroutines.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdAnswerWindow))
		if err != nil {
			panic(err) // the options above are wrong
		}
		return w
	}},
}

// encoding is how an answer is encoded.
type encoding struct {
	wanted  wantedCoding
	min     int    // bytes from which on it is worth it
	gate    *gate  // of encoders
	full    func() // called if that is full
	head    bool   // there is no body
	never   bool   // it goes as it is
	encoder encoder
	drop    bool // of what would be encoded there is no body
}

// encodable are the media types whose answers are text.
var encodable = []string{mediaJSON, mediaProblem, mediaNDJSON, "application/yaml", "application/javascript", "image/svg+xml"}

func isEncodable(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	if media == mediaEventStream {
		return false
	}
	for _, m := range encodable {
		if m == media {
			return true
		}
	}
	return strings.HasPrefix(media, "text/")
}

// choose decides, once the status and the headers of an answer are known, whether
// it will be encoded, and says so in the headers. It returns the coding.
func (e *encoding) choose(status int, h http.Header) coding {
	if e.never {
		return identity
	}
	if status != http.StatusNotModified { // which has no Content-Type, but would have had
		if h.Get("Content-Encoding") != "" || !isEncodable(h.Get("Content-Type")) {
			return identity
		}
	}
	h.Set("Vary", strings.Join(append(h.Values("Vary"), "Accept-Encoding"), ", "))
	if status == http.StatusNotModified || e.wanted.coding == identity {
		return identity
	}
	if length, err := strconv.Atoi(h.Get("Content-Length")); err == nil && length < e.min && !e.wanted.strict {
		return identity
	}
	if !e.gate.enter(1) {
		e.full()
		return identity
	}
	h.Set("Content-Encoding", string(e.wanted.coding))
	h.Del("Content-Length")
	return e.wanted.coding
}

// open begins to encode into w.
func (e *encoding) open(c coding, w io.Writer) {
	e.encoder = encoders[c].Get().(encoder)
	e.encoder.Reset(w)
}

// close gives the encoder back; what it holds is lost.
func (e *encoding) close() {
	if e.encoder == nil {
		return
	}
	e.encoder.Reset(nil)
	encoders[e.wanted.coding].Put(e.encoder)
	e.encoder = nil
	e.gate.leave(1)
}
