package recordbatch

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// pooledBytesMax is the largest buffer that a pooled workspace keeps.
	pooledBytesMax = 8 << 20
	// sharedBytesMax is the largest batch that is decompressed into a
	// workspace's buffer and copied from there, where the result is to outlive
	// the workspace. It saves small batches the slack that the bound of a zstd
	// frame has, 128 KiB at most.
	sharedBytesMax = 256 << 10
)

// workspace is what (de)compressing one batch needs: buffers, and encoders and
// decoders, made when first used. It serves one goroutine at a time.
type workspace struct {
	buf   []byte // what buffer hands out, empty
	out   []byte // what pack compresses into, empty
	src   bytes.Reader
	dst   appender
	gzipR *gzip.Reader
	gzipW *gzip.Writer
	lz4W  *lz4.Compressor
	zstdR *zstd.Decoder
	zstdW *zstd.Encoder
	// zstdLimit is the limit that zstdR was made for, in bytes.
	zstdLimit int
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

func getWorkspace() *workspace { return workspaces.Get().(*workspace) }

// put returns the workspace, and its buffers with it.
func (w *workspace) put() {
	if cap(w.buf) > pooledBytesMax {
		w.buf = nil
	}
	if cap(w.out) > pooledBytesMax {
		w.out = nil
	}
	w.src.Reset(nil)
	workspaces.Put(w)
}

// buffer returns an empty buffer of capacity n that is valid until put. It
// drops the one before if that is smaller, so that never both are held.
func (w *workspace) buffer(n int) []byte {
	if cap(w.buf) < n {
		w.buf = nil
		w.buf = make([]byte, 0, n)
	}
	return w.buf[:0:n]
}

// decompress returns src uncompressed, in the workspace's buffer. limit bounds
// its length in bytes; the error beyond is a *TooLargeError.
func (w *workspace) decompress(codec Codec, src []byte, limit int) ([]byte, error) {
	return w.decompressInto(codec, src, limit, w.buffer)
}

// decompressOwned returns src uncompressed in a buffer of its own.
func (w *workspace) decompressOwned(codec Codec, src []byte, limit int) ([]byte, error) {
	shared := false
	out, err := w.decompressInto(codec, src, limit, func(n int) []byte {
		if shared = n <= sharedBytesMax; shared {
			return w.buffer(n)
		}
		return make([]byte, 0, n)
	})
	if err != nil {
		return nil, err
	}
	if shared {
		return slices.Clone(out), nil
	}
	return out, nil
}

// decompressInto asks buffer once or twice for a capacity in which to
// decompress, having worked out how much src needs; where twice, it lets go of
// the first before.
func (w *workspace) decompressInto(codec Codec, src []byte, limit int, buffer func(int) []byte) ([]byte, error) {
	limit = max(limit, 0)
	switch codec {
	case Gzip:
		return w.gunzip(src, limit, buffer)
	case Snappy:
		return decompressSnappy(src, limit, buffer)
	case LZ4:
		return decompressLZ4(src, limit, buffer)
	case Zstd:
		return w.decompressZstd(src, limit, buffer)
	}
	return nil, fmt.Errorf("%w %d", ErrCodec, codec)
}

// pack returns src compressed, in memory of the workspace that is valid until put.
func (w *workspace) pack(src []byte, codec Codec) []byte {
	packed := w.compress(w.out[:0], src, codec)
	w.out = packed[:0]
	return packed
}

// compress appends src to dst, compressed.
func (w *workspace) compress(dst, src []byte, codec Codec) []byte {
	switch codec {
	case Gzip:
		return w.gzip(dst, src)
	case Snappy:
		return appendSnappy(dst, src)
	case LZ4:
		return w.appendLZ4(dst, src)
	case Zstd:
		return w.appendZstd(dst, src)
	}
	panic("recordbatch: compress with codec " + codec.String())
}

// tooLarge says that decompressing gives n bytes or more.
func tooLarge(n uint64, limit int) error {
	return &TooLargeError{What: "decompressed batch", Bytes: int64(min(n, 1<<62)), Limit: int64(limit)}
}

// appender is an io.Writer that appends.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
