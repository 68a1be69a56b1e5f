package client

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"sync"
	"time"
)

// What one partition has under way from the bucket at a time, at most. A single
// part may be larger.
const (
	downloadsMax      = 16
	downloadBytesMax  = 16 << 20
	downloadPartBytes = 4 << 20
)

// unblockedBytesMax bounds a range that has no blocks, since it is held as a whole.
const unblockedBytesMax = 64 << 20

// downloadAttempts is how often a part is asked for before its range is fetched
// from a node; between two there is a pause.
const (
	downloadAttempts = 2
	downloadPause    = 100 * time.Millisecond
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errURLRefused is an answer of the bucket that a repeat would get as well: the
// URL has expired, or the object is gone.
var errURLRefused = errors.New("refused by the bucket")

// part is bytes of a range that are downloaded and checked as one.
type part struct {
	of   *ManifestRange
	pos  int64 // in the object
	len  int64
	crcs []uint32 // of each BlockBytes of them, or of all

	// skip is how many bytes lie before the first batch that is wanted, and base
	// that batch's base offset; of the first part that is read of a range.
	skip int64
	base int64

	done chan struct{}
	data []byte // as err, set before done is closed
	err  error
}

// partsOf cuts what a range holds of [from, to) into parts: with blocks, from
// the one in which the last batch begins that may hold from.
func partsOf(r *ManifestRange, from, to int64) []*part {
	if len(r.Blocks) == 0 {
		return []*part{{of: r, pos: r.Position, len: r.Bytes, crcs: []uint32{r.CRC32C}, base: r.BaseOffset}}
	}
	first, last := 0, len(r.Blocks)-1
	skip, base := int64(0), r.BaseOffset
	for i, b := range r.Blocks {
		if b.BaseOffset == nil || b.FirstBatch == nil {
			continue
		}
		if *b.BaseOffset <= from {
			first, skip, base = i, *b.FirstBatch-int64(i)*r.BlockBytes, *b.BaseOffset
		}
		if *b.BaseOffset >= to {
			last = i // the batch before ends in it
			break
		}
	}
	perPart := int(max(1, downloadPartBytes/r.BlockBytes))
	var parts []*part
	for i := first; i <= last; i += perPart {
		n := min(perPart, last+1-i)
		at := int64(i) * r.BlockBytes
		p := &part{of: r, pos: r.Position + at, len: min(int64(n)*r.BlockBytes, r.Bytes-at)}
		for _, b := range r.Blocks[i : i+n] {
			p.crcs = append(p.crcs, b.CRC32C)
		}
		parts = append(parts, p)
	}
	parts[0].skip, parts[0].base = skip, base
	return parts
}

// downloads loads parts in their order, some at a time, and ahead of their use.
type downloads struct {
	client  *Client
	parts   []*part
	begun   int
	used    int
	bytes   int64 // of parts that are begun and not used
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

func (c *Client) newDownloads(ctx context.Context, parts []*part) *downloads {
	for _, p := range parts {
		p.done = make(chan struct{})
	}
	d := &downloads{client: c, parts: parts}
	d.ctx, d.cancel = context.WithCancel(ctx)
	return d
}

// stop ends what is under way and waits for it.
func (d *downloads) stop() {
	d.cancel()
	d.running.Wait()
}

// next returns the bytes of the next part once they are there.
func (d *downloads) next() (*part, error) {
	d.fill()
	p := d.parts[d.used]
	<-p.done // ends with ctx
	d.drop()
	return p, p.err
}

// skip passes over the parts of a range that are left.
func (d *downloads) skip(r *ManifestRange) {
	for d.used < len(d.parts) && d.parts[d.used].of == r {
		d.drop()
	}
}

// drop counts the next part as used, also if it was never begun.
func (d *downloads) drop() {
	if d.used < d.begun {
		d.bytes -= d.parts[d.used].len
	} else {
		d.begun++
	}
	d.used++
}

func (d *downloads) fill() {
	for d.begun < len(d.parts) && d.begun-d.used < downloadsMax {
		p := d.parts[d.begun]
		if d.begun > d.used && d.bytes+p.len > downloadBytesMax {
			return
		}
		d.begun++
		d.bytes += p.len
		d.running.Go(func() {
			defer close(p.done)
			p.data, p.err = d.client.download(d.ctx, p)
		})
	}
}

// download gets a part from the bucket and checks it.
func (c *Client) download(ctx context.Context, p *part) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		data, err := c.downloadOnce(ctx, p)
		if err == nil || errors.Is(err, errURLRefused) || attempt == downloadAttempts || !sleep(ctx, downloadPause) {
			return data, err
		}
	}
}

func (c *Client) downloadOnce(ctx context.Context, p *part) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.of.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed URL", errURLRefused)
	}
	// Whole objects are asked for as ranges too: then there is one answer to expect.
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p.pos, p.pos+p.len-1))
	req.Header.Set("User-Agent", c.userAgent)
	res, err := c.bucketHTTP.Do(req)
	if err != nil {
		return nil, &ConnectionError{Sent: mayBeSent(err), Err: withoutURL(err)}
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusPartialContent:
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return nil, fmt.Errorf("bucket answers %d", res.StatusCode)
	default:
		return nil, fmt.Errorf("%w: it answers %d", errURLRefused, res.StatusCode)
	}
	data := make([]byte, p.len)
	if _, err := io.ReadFull(res.Body, data); err != nil {
		return nil, fmt.Errorf("read from the bucket: %w", err)
	}
	return data, p.check(data)
}

// check compares bytes with the checksums of the manifest.
func (p *part) check(data []byte) error {
	size := p.of.BlockBytes
	if len(p.crcs) == 1 {
		size = int64(len(data))
	}
	for i, want := range p.crcs {
		block := data[int64(i)*size : min(int64(i+1)*size, int64(len(data)))]
		if got := crc32.Checksum(block, castagnoli); got != want {
			return fmt.Errorf("bytes %d to %d of %s have CRC32C %08x, not %08x", p.pos+int64(i)*size, p.pos+int64(i)*size+int64(len(block)), p.of.Key, got, want)
		}
	}
	return nil
}
