package s3store

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/wadilog/wadi/internal/objstore"
)

// unsignedPayload stands where a body's SHA-256 would. The body's CRC32C is signed
// with the other headers.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// answerBytesMax bounds what is read of the answer to a PUT.
const answerBytesMax = 64 << 10

// directPut sends PUTs without the SDK's stack of middleware, which is built anew
// for each request and costs more than net/http and the signature together. What
// the SDK makes of its configuration is asked of it once: the address of the
// bucket, the region and the way of signing.
type directPut struct {
	transport   http.RoundTripper
	credentials aws.CredentialsProvider
	signer      *v4.Signer
	region      string
	base        string       // URL of the bucket, with a slash at its end
	skew        atomic.Int64 // ns; how far the store's clock is ahead, if it minds
}

// directoryBucket ends the names of buckets whose requests are signed for a session.
const directoryBucket = "--x-s3"

// newDirectPut returns nil if PUTs are to go through the SDK: for another checksum
// than CRC32C, or another signature than plain SigV4's. It asks the store nothing.
func newDirectPut(ctx context.Context, cfg Config, client *s3.Client, transport http.RoundTripper) (*directPut, error) {
	if cfg.Checksum != ChecksumCRC32C || strings.HasSuffix(cfg.Bucket, directoryBucket) {
		return nil, nil
	}
	const key = "k"
	signed, err := s3.NewPresignClient(client).PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &cfg.Bucket, Key: aws.String(key)})
	if err != nil {
		return nil, fmt.Errorf("s3 store: find the bucket's address: %w", asText(err))
	}
	address, err := url.Parse(signed.URL)
	if err != nil {
		return nil, fmt.Errorf("s3 store: the bucket's address: %w", asText(err))
	}
	query := address.Query()
	scope := strings.Split(query.Get("X-Amz-Credential"), "/") // key id, which may hold slashes, date, region, service, aws4_request
	n := len(scope)
	if query.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || n < 5 || scope[n-2] != "s3" {
		return nil, nil
	}
	path, ok := strings.CutSuffix(address.EscapedPath(), "/"+key)
	if !ok {
		return nil, nil
	}
	return &directPut{
		transport:   transport,
		credentials: client.Options().Credentials,
		signer:      v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		region:      scope[n-3],
		base:        address.Scheme + "://" + address.Host + path + "/",
	}, nil
}

// takes tells whether a key stands in a URL, and in what is signed, as it is. Of
// what keys are made of, only this must be escaped there.
func (d *directPut) takes(key string) bool { return d != nil && strings.IndexByte(key, '=') < 0 }

// put sends one PUT of an object, whose key takes has accepted. crc is nil if no
// checksum is to go with it.
func (d *directPut) put(ctx context.Context, r request, key string, body []byte, crc *string) (objstore.Receipt, error) {
	sent, err := http.NewRequestWithContext(ctx, http.MethodPut, d.base+key, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return objstore.Receipt{}, r.refused(asText(err))
	}
	sent.ContentLength = int64(len(body))
	if len(body) == 0 {
		sent.Body = http.NoBody
	}
	h := sent.Header
	h["User-Agent"] = []string{"wadi"}
	h["Content-Type"] = []string{"application/octet-stream"}
	h["X-Amz-Content-Sha256"] = []string{unsignedPayload}
	if crc != nil {
		h["X-Amz-Checksum-Crc32c"] = []string{*crc}
	}
	if r.op == objstore.OpPutIfAbsent {
		h["If-None-Match"] = []string{"*"}
	}
	credentials, err := d.credentials.Retrieve(ctx)
	if err != nil {
		return objstore.Receipt{}, r.unsent(ctx, err)
	}
	now := time.Now().Add(time.Duration(d.skew.Load())).UTC()
	if err := d.signer.SignHTTP(ctx, credentials, sent, unsignedPayload, "s3", d.region, now); err != nil {
		return objstore.Receipt{}, r.unsent(ctx, err)
	}
	answer, err := d.transport.RoundTrip(sent)
	if err != nil {
		return objstore.Receipt{}, r.unanswered(ctx, err)
	}
	defer answer.Body.Close()
	date := dateHeader(answer.Header)
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerBytesMax))
	if answer.StatusCode == http.StatusOK {
		return objstore.Receipt{Date: date}, nil
	}
	var problem struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	if err == nil && len(text) > 0 {
		err = xml.Unmarshal(text, &problem)
	}
	if err != nil && ctx.Err() != nil {
		// The rest of the answer did not come any more, so a 404 says nothing.
		return objstore.Receipt{}, r.unanswered(ctx, err)
	}
	if err != nil {
		problem.Message = err.Error()
	}
	if problem.Code == "RequestTimeTooSkewed" && !date.IsZero() {
		d.skew.Store(int64(time.Until(date)))
	}
	return objstore.Receipt{}, r.answered(answer.StatusCode, problem.Code, problem.Message, date)
}
