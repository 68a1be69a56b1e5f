package s3store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/wadilog/wadi/internal/mutant"
)

// transportBufferBytes is the size of each connection's read and write buffer.
const transportBufferBytes = 64 << 10

func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // S3 speaks nothing else, and one connection per request is faster
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   cfg.TLSTimeout,
		ResponseHeaderTimeout: cfg.HeaderTimeout,
		IdleConnTimeout:       cfg.IdleTimeout,
		MaxIdleConns:          cfg.ConnsMax,
		MaxIdleConnsPerHost:   cfg.ConnsMax,
		MaxConnsPerHost:       cfg.ConnsMax,
		ReadBufferSize:        transportBufferBytes,
		WriteBufferSize:       transportBufferBytes,
		DisableCompression:    true, // a body must come back as it was put
		Protocols:             protocols,
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcOf is the header of a body's checksum; nil for none.
func (s *Store) crcOf(body []byte) *string {
	if s.cfg.Checksum != ChecksumCRC32C {
		return nil
	}
	return s.crcHeader(crc32.Checksum(body, castagnoli))
}

// crcHeader is a CRC32C as S3 wants it in a header: base64 of it in big-endian
// order; nil if none is to be sent.
func (s *Store) crcHeader(crc uint32) *string {
	if s.cfg.Checksum != ChecksumCRC32C || skipChecksum() {
		return nil
	}
	text := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
	return &text
}

func skipChecksum() bool { return mutant.On(mutant.SkipPutChecksum) }

// damage marks the context of a request whose body is to be changed on the way.
type damage struct{}

// damagingTransport changes a bit in the bodies of marked requests after they
// were signed, to see whether the store notices.
type damagingTransport struct{ inner http.RoundTripper }

func (t damagingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Value(damage{}) == nil || r.Body == nil {
		return t.inner.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	body[len(body)/2] ^= 1
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(body))
	changed.GetBody = nil
	return t.inner.RoundTrip(changed)
}
