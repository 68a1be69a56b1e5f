package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/wadilog/wadi/internal/objstore"
)

// Store is an objstore.Bucket on S3.
type Store struct {
	cfg       Config
	client    *s3.Client
	presigner *s3.PresignClient
	transport *http.Transport
	prefix    string // ends with a slash, or is empty
}

var (
	_ objstore.Bucket    = (*Store)(nil)
	_ objstore.CRCPutter = (*Store)(nil)
)

// New makes a client and finds its credentials. It asks the store nothing.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("s3 store: %w", err)
	}
	transport := newTransport(cfg)
	var tripper http.RoundTripper = transport
	if cfg.WrapTransport != nil {
		tripper = cfg.WrapTransport(tripper)
	}
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if cfg.Region != "" {
		load = append(load, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	sdk, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("s3 store: load AWS configuration: %w", asText(err))
	}
	if sdk.Region == "" {
		if cfg.Endpoint == "" {
			return nil, errors.New("s3 store: no region: put region=… into the store's URL or set AWS_REGION")
		}
		sdk.Region = "us-east-1"
	}
	if _, err := sdk.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("s3 store: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role: %w", asText(err))
	}
	client := s3.NewFromConfig(sdk, func(o *s3.Options) {
		o.HTTPClient = &http.Client{
			Transport: damagingTransport{tripper},
			// A redirect would repeat a request that was signed for another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		o.Retryer = aws.NopRetryer{}
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.ContinueHeaderThresholdBytes = -1 // Expect: 100-continue costs a round trip for each large PUT
		o.DisableLogOutputChecksumValidationSkipped = true
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(strings.TrimSuffix(cfg.Endpoint, "/"))
			o.UsePathStyle = true
		}
	})
	s := &Store{cfg: cfg, client: client, presigner: s3.NewPresignClient(client), transport: transport}
	if cfg.Prefix != "" {
		s.prefix = cfg.Prefix + "/"
	}
	return s, nil
}

// Close ends the connections that no request uses.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string) (objstore.Object, error) {
	r := request{op: objstore.OpGet, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.path(key)})
	if err != nil {
		return objstore.Object{}, r.failed(ctx, err)
	}
	defer out.Body.Close()
	date := dateOf(out.ResultMetadata)
	body, err := s.read(out.Body, aws.ToInt64(out.ContentLength), out.ContentLength != nil)
	if err != nil {
		return objstore.Object{}, r.brokeOff(ctx, date, err)
	}
	return objstore.Object{Body: body, Size: int64(len(body)), Date: date}, nil
}

// GetRange implements objstore.Bucket.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) (objstore.Object, error) {
	r := request{op: objstore.OpGetRange, key: key}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Object{}, err
	}
	if err := objstore.CheckRange(pos, length); err != nil {
		return objstore.Object{}, r.refused(err)
	}
	asked := fmt.Sprintf("bytes=%d-%d", pos, pos+length-1)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: s.path(key), Range: &asked})
	if err != nil {
		return objstore.Object{}, r.failed(ctx, err)
	}
	defer out.Body.Close()
	date := dateOf(out.ResultMetadata)
	size, err := checkContentRange(aws.ToString(out.ContentRange), pos, length)
	if err != nil {
		return objstore.Object{}, r.failure(objstore.NotCommitted, date, err)
	}
	if out.ContentLength != nil && *out.ContentLength != length {
		err := fmt.Errorf("%w: range of %d bytes is answered with %d", objstore.ErrUnavailable, length, *out.ContentLength)
		return objstore.Object{}, r.failure(objstore.NotCommitted, date, err)
	}
	body, err := s.read(out.Body, length, true)
	if err != nil {
		return objstore.Object{}, r.brokeOff(ctx, date, err)
	}
	return objstore.Object{Body: body, Size: size, Date: date}, nil
}

// read reads a body into one allocation if its length is known, and fails if it
// ends early. A body that is longer than announced is cut off by net/http.
func (s *Store) read(body io.Reader, length int64, known bool) ([]byte, error) {
	if length > s.cfg.GetBytesMax {
		return nil, tooLarge(length, s.cfg.GetBytesMax)
	}
	if known {
		whole := make([]byte, length)
		n, err := io.ReadFull(body, whole)
		if err != nil {
			return nil, fmt.Errorf("body ends after %d of %d bytes: %w", n, length, err)
		}
		return whole, nil
	}
	whole, err := io.ReadAll(io.LimitReader(body, s.cfg.GetBytesMax+1))
	if err == nil && int64(len(whole)) > s.cfg.GetBytesMax {
		err = tooLarge(int64(len(whole)), s.cfg.GetBytesMax)
	}
	return whole, err
}

func tooLarge(length, limit int64) error {
	return fmt.Errorf("%w: body of %d bytes, at most %d are read at once", objstore.ErrRefused, length, limit)
}

// checkContentRange compares the range of an answer with what was asked, and
// returns the size of the whole object.
func checkContentRange(header string, pos, length int64) (int64, error) {
	var first, last, size int64
	if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &size); err != nil {
		return 0, fmt.Errorf("%w: the answer to a range has the Content-Range %q", objstore.ErrUnsupported, header)
	}
	if first == pos && last < pos+length-1 && last == size-1 {
		// S3 shortens a range that begins inside of the object.
		return 0, fmt.Errorf("%w: %d bytes from %d on of %d", objstore.ErrInvalidRange, length, pos, size)
	}
	if first != pos || last != pos+length-1 || size <= last {
		return 0, fmt.Errorf("%w: asked for %d bytes from %d on, answered %q", objstore.ErrUnavailable, length, pos, header)
	}
	return size, nil
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return s.put(ctx, request{op: objstore.OpPut, key: key, write: true}, body, s.crcOf(body))
}

// PutWithCRC implements objstore.CRCPutter.
func (s *Store) PutWithCRC(ctx context.Context, key string, body []byte, crc uint32) (objstore.Receipt, error) {
	return s.put(ctx, request{op: objstore.OpPut, key: key, write: true}, body, s.crcHeader(crc))
}

// PutIfAbsent implements objstore.Bucket.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Receipt, error) {
	return s.put(ctx, request{op: objstore.OpPutIfAbsent, key: key, write: true}, body, s.crcOf(body))
}

func (s *Store) put(ctx context.Context, r request, body []byte, crc *string) (objstore.Receipt, error) {
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	in := &s3.PutObjectInput{
		Bucket:         &s.cfg.Bucket,
		Key:            s.path(r.key),
		Body:           bytes.NewReader(body),
		ContentLength:  aws.Int64(int64(len(body))),
		ContentType:    aws.String("application/octet-stream"),
		ChecksumCRC32C: crc,
	}
	if r.op == objstore.OpPutIfAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	out, err := s.client.PutObject(ctx, in, s.payload())
	if err != nil {
		return objstore.Receipt{}, r.failed(ctx, err)
	}
	return objstore.Receipt{Date: dateOf(out.ResultMetadata)}, nil
}

// payload leaves the body of a request unsigned unless its SHA-256 is wanted.
func (s *Store) payload() func(*s3.Options) {
	if s.cfg.Checksum == ChecksumSHA256 && !skipChecksum() {
		return func(*s3.Options) {}
	}
	return s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// List implements objstore.Bucket.
func (s *Store) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	r := request{op: objstore.OpList, key: prefix}
	if err := r.check(ctx, objstore.CheckPrefix); err != nil {
		return objstore.Page{}, err
	}
	limit = objstore.PageLimit(limit)
	in := &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: s.path(prefix), MaxKeys: aws.Int32(int32(limit))}
	if s.prefix+startAfter != "" {
		// Also without startAfter: it passes over an object that is named like the
		// prefix, which some tools leave to show a folder.
		in.StartAfter = s.path(startAfter)
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return objstore.Page{}, r.failed(ctx, err)
	}
	page := objstore.Page{Date: dateOf(out.ResultMetadata), More: aws.ToBool(out.IsTruncated)}
	last := startAfter
	for _, o := range out.Contents {
		key, ok := strings.CutPrefix(aws.ToString(o.Key), s.prefix)
		if !ok || !strings.HasPrefix(key, prefix) || key <= last {
			err := fmt.Errorf("%w: a listing of %q after %q has %q after %q", objstore.ErrUnsupported, prefix, startAfter, key, last)
			return objstore.Page{}, r.failure(objstore.NotCommitted, page.Date, err)
		}
		last = key
		page.Objects = append(page.Objects, objstore.ObjectInfo{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
	}
	return page, nil
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) (objstore.Receipt, error) {
	r := request{op: objstore.OpDelete, key: key, write: true}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	out, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: s.path(key)})
	if err != nil {
		err = r.failed(ctx, err)
		if errors.Is(err, objstore.ErrNotFound) {
			return objstore.Receipt{Date: objstore.DateOf(err)}, nil
		}
		return objstore.Receipt{}, err
	}
	return objstore.Receipt{Date: dateOf(out.ResultMetadata)}, nil
}

// path is the key within the bucket.
func (s *Store) path(key string) *string { return aws.String(s.prefix + key) }

// dateOf returns the Date header of an answer.
func dateOf(metadata middleware.Metadata) time.Time {
	if response, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response); ok && response != nil {
		return dateHeader(response)
	}
	return time.Time{}
}

func dateHeader(response *smithyhttp.Response) time.Time {
	if response.Response == nil {
		return time.Time{}
	}
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date.UTC()
}
