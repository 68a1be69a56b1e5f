package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// lineBytesMax bounds one line of input. No topic takes records as long.
const lineBytesMax = 64 << 20

// Buffers before and after decompression.
const (
	inputBuffer = 256 << 10
	lineBuffer  = 256 << 10
)

// zstdWindowMax bounds the memory that a zstd input can ask for.
const zstdWindowMax = 128 << 20

// lineInput reads lines from files, one after the other, or from one stream.
// gzip and zstd are recognised by their first bytes. It is for one goroutine,
// except for progress.
type lineInput struct {
	ctx    context.Context
	paths  []string
	stdin  io.Reader
	read   *atomic.Int64 // bytes taken from the files as they are on disk
	total  int64         // of all files, -1 if unknown
	lines  int64         // lines returned so far
	reader *bufio.Reader // of the open file, decompressed
	name   string        // of the open file
	closer func()
	long   []byte // a line longer than reader's buffer
}

// newLineInput opens nothing yet, but finds how long the files are. No path,
// or "-", is stdin. When ctx ends, reading fails with its cause, also while
// waiting for stdin.
func newLineInput(ctx context.Context, paths []string, stdin io.Reader) (*lineInput, error) {
	if len(paths) == 0 {
		paths = []string{"-"}
	}
	in := &lineInput{ctx: ctx, paths: paths, stdin: stdin, read: new(atomic.Int64)}
	for _, path := range paths {
		var size int64 = -1
		if path != "-" {
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			if info.IsDir() {
				return nil, fmt.Errorf("%s is a folder", path)
			}
			if info.Mode().IsRegular() {
				size = info.Size()
			}
		} else if f, ok := stdin.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
				size = info.Size()
			}
		}
		if size < 0 {
			in.total = -1
		} else if in.total >= 0 {
			in.total += size
		}
	}
	return in, nil
}

// next returns the next line without its end, valid until the next call, or
// io.EOF after the last. A last line without an end is a line too.
func (in *lineInput) next() ([]byte, error) {
	for {
		if in.reader == nil {
			if len(in.paths) == 0 {
				return nil, io.EOF
			}
			if err := in.open(in.paths[0]); err != nil {
				return nil, err
			}
			in.paths = in.paths[1:]
		}
		line, err := in.readLine()
		if err == nil {
			in.lines++
			return line, nil
		}
		name := in.name
		in.close()
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s after line %d: %w", name, in.lines, err)
		}
	}
}

func (in *lineInput) readLine() ([]byte, error) {
	line, err := in.reader.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	in.long = in.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		in.long = append(in.long, line...)
		if len(in.long) > lineBytesMax {
			return nil, fmt.Errorf("line is longer than %d bytes", lineBytesMax)
		}
		line, err = in.reader.ReadSlice('\n')
	}
	in.long = append(in.long, line...)
	switch {
	case err == nil:
		return in.long[:len(in.long)-1], nil
	case errors.Is(err, io.EOF) && len(in.long) > 0:
		return in.long, nil
	}
	return nil, err
}

func (in *lineInput) open(path string) error {
	var source io.Reader
	closeSource, name := func() {}, "standard input"
	if path == "-" {
		source = newInterruptibleReader(in.ctx, in.stdin)
	} else {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		source, closeSource, name = f, func() { _ = f.Close() }, path
	}
	plain, closePlain, err := decompressed(&countingReader{source, in.read})
	if err != nil {
		closeSource()
		return fmt.Errorf("read %s: %w", name, err)
	}
	in.reader, in.name = bufio.NewReaderSize(plain, lineBuffer), name
	in.closer = func() { closePlain(); closeSource() }
	return nil
}

func (in *lineInput) close() {
	if in.reader != nil {
		in.closer()
		in.reader = nil
	}
}

// First bytes of compressed files: RFC 1952 §2.3.1 and RFC 8878 §3.1.1.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompressed returns what r holds, decompressed if it begins as gzip or zstd.
func decompressed(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, inputBuffer)
	switch {
	case beginsWith(buffered, gzipMagic):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, err
		}
		return z, func() {}, nil
	case beginsWith(buffered, zstdMagic):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// beginsWith reads no further than it must, since a pipe may say nothing more for long.
// A shorter input, and an error, is found again by the first read.
func beginsWith(r *bufio.Reader, magic []byte) bool {
	for n := range magic {
		head, err := r.Peek(n + 1)
		if err != nil || head[n] != magic[n] {
			return false
		}
	}
	return true
}

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// interruptibleReader makes the reads of a stream that may never end return
// when ctx does. The read under way then stays behind, with the process.
type interruptibleReader struct {
	ctx    context.Context
	asks   chan []byte
	answer chan readResult
	buf    []byte
}

type readResult struct {
	n   int
	err error
}

func newInterruptibleReader(ctx context.Context, r io.Reader) *interruptibleReader {
	ir := &interruptibleReader{ctx: ctx, asks: make(chan []byte), answer: make(chan readResult, 1), buf: make([]byte, inputBuffer)}
	go func() {
		for {
			select {
			case p := <-ir.asks:
				n, err := r.Read(p)
				ir.answer <- readResult{n, err}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ir
}

func (ir *interruptibleReader) Read(p []byte) (int, error) {
	select {
	case ir.asks <- ir.buf[:min(len(p), len(ir.buf))]:
	case <-ir.ctx.Done():
		return 0, context.Cause(ir.ctx)
	}
	select {
	case got := <-ir.answer:
		return copy(p, ir.buf[:got.n]), got.err
	case <-ir.ctx.Done():
		return 0, context.Cause(ir.ctx)
	}
}
