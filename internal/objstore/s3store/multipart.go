package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/wadilog/wadi/internal/objstore"
)

// abortTimeout bounds the request that clears up after a failed stream.
const abortTimeout = 5 * time.Second

// PutStream implements objstore.Bucket. A stream that fits into one part is a
// plain PUT. Of a longer one, a part is sent while the next is read.
func (s *Store) PutStream(ctx context.Context, key string, body io.Reader) (objstore.Receipt, error) {
	r := request{op: objstore.OpPutStream, key: key, write: true}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return objstore.Receipt{}, err
	}
	first, more, err := readPart(body, make([]byte, s.cfg.PartBytes))
	if err != nil {
		return objstore.Receipt{}, r.refused(err)
	}
	if !more {
		return s.put(ctx, r, first, s.crcOf(first))
	}
	u, err := s.beginUpload(ctx, r)
	if err != nil {
		return objstore.Receipt{}, err
	}
	receipt, err := u.send(ctx, first, body)
	if err != nil {
		u.abandon(ctx)
	}
	return receipt, err
}

// readPart fills a part; more is false if the stream ended before it was full.
// io.ReadFull would not do: it cannot tell a stream that ends from a reader that
// fails with io.ErrUnexpectedEOF, as those of cut files do.
func readPart(body io.Reader, part []byte) (read []byte, more bool, err error) {
	for n := 0; ; {
		if n == len(part) {
			return part, true, nil
		}
		m, err := body.Read(part[n:])
		n += m
		if err == io.EOF && n < len(part) {
			return part[:n], false, nil
		}
		if err != nil && err != io.EOF {
			return part[:n], false, err
		}
	}
}

// upload is a multipart upload under way.
type upload struct {
	store *Store
	request
	id    *string
	parts []types.CompletedPart
}

func (s *Store) beginUpload(ctx context.Context, r request) (*upload, error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket:      &s.cfg.Bucket,
		Key:         s.path(r.key),
		ContentType: aws.String("application/octet-stream"),
	}
	if s.cfg.Checksum == ChecksumCRC32C {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return nil, notCommitted(r.failed(ctx, err))
	}
	return &upload{store: s, request: r, id: out.UploadId}, nil
}

// send uploads part and what follows it in body, then completes the upload.
func (u *upload) send(ctx context.Context, part []byte, body io.Reader) (objstore.Receipt, error) {
	spare := make([]byte, u.store.cfg.PartBytes)
	for more := true; len(part) > 0; {
		if len(u.parts) == partsMax {
			return objstore.Receipt{}, u.refused(fmt.Errorf("%w: stream of over %d parts", objstore.ErrRefused, partsMax))
		}
		sending, cancel := context.WithCancel(ctx)
		sent := make(chan error, 1)
		go func() { sent <- u.sendPart(sending, part) }()

		var next []byte
		var readErr error
		if more {
			next, more, readErr = readPart(body, spare)
		}
		if readErr != nil {
			cancel()
		}
		sendErr := <-sent
		cancel()
		if readErr != nil {
			return objstore.Receipt{}, u.refused(readErr)
		}
		if sendErr != nil {
			return objstore.Receipt{}, notCommitted(sendErr)
		}
		part, spare = next, part[:cap(part)]
	}
	out, err := u.store.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &u.store.cfg.Bucket,
		Key:             u.store.path(u.key),
		UploadId:        u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	if err != nil {
		return objstore.Receipt{}, u.failed(ctx, err)
	}
	return objstore.Receipt{Date: dateOf(out.ResultMetadata)}, nil
}

func (u *upload) sendPart(ctx context.Context, part []byte) error {
	number, crc := int32(len(u.parts)+1), u.store.crcOf(part)
	out, err := u.store.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &u.store.cfg.Bucket,
		Key:            u.store.path(u.key),
		UploadId:       u.id,
		PartNumber:     &number,
		Body:           bytes.NewReader(part),
		ContentLength:  aws.Int64(int64(len(part))),
		ChecksumCRC32C: crc,
	}, u.store.payload())
	if err != nil {
		return u.failed(ctx, err)
	}
	u.parts = append(u.parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32C: crc})
	return nil
}

// abandon drops the parts of a failed stream, also if its context has ended. What
// cannot be dropped now is found by ListUploads.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = u.store.AbortUpload(ctx, objstore.Upload{Key: u.key, ID: aws.ToString(u.id)})
}

// notCommitted settles the outcome of a stream that failed before the request
// which would have made the object.
func notCommitted(err error) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		e.Outcome = objstore.NotCommitted
	}
	return err
}

// ListUploads implements objstore.Bucket. MinIO lists uploads only if prefix is
// a whole key; it drops uploads of its own accord after a day.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]objstore.Upload, error) {
	r := request{op: objstore.OpListUploads, key: prefix}
	if err := r.check(ctx, objstore.CheckPrefix); err != nil {
		return nil, err
	}
	var uploads []objstore.Upload
	in := &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: s.path(prefix)}
	for {
		out, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return nil, r.failed(ctx, err)
		}
		for _, u := range out.Uploads {
			key, ok := strings.CutPrefix(aws.ToString(u.Key), s.prefix)
			if !ok || !strings.HasPrefix(key, prefix) {
				continue
			}
			uploads = append(uploads, objstore.Upload{Key: key, ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextKeyMarker) == "" {
			return uploads, nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

// AbortUpload implements objstore.Bucket.
func (s *Store) AbortUpload(ctx context.Context, u objstore.Upload) error {
	r := request{op: objstore.OpAbortUpload, key: u.Key, write: true}
	if err := r.check(ctx, objstore.CheckKey); err != nil {
		return err
	}
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: s.path(u.Key), UploadId: &u.ID})
	if err == nil {
		return nil
	}
	err = r.failed(ctx, err)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}
