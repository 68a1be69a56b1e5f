package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// BenchmarkProduceLines is what wadi produce does for a line, with a node that
// acknowledges whatever it is sent. BenchmarkProducer in client is the same for
// its Producer.
func BenchmarkProduceLines(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			listener := newPipeListener()
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				header, err := recordbatch.ParseHeader(body)
				if err != nil {
					b.Error(err)
				}
				_, _ = fmt.Fprintf(w, `{"results":[{"partition":%s,"base_offset":0,"count":%d,"timestamp":0}]}`,
					strings.Split(r.URL.Path, "/")[5], header.RecordCount)
			})}
			go func() { _ = server.Serve(listener) }()
			defer func() { _ = server.Close() }()
			c, err := client.New(client.Config{Servers: []string{"http://x"}, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return listener.dial(ctx)
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			codec, _ := recordbatch.ParseCodec(defaultCompression)
			p := newLineProducer(b.Context(), c, producerSettings{
				topic: "t", partitions: 8, codec: codec, bufferBytes: 32 << 20, connections: 16, timeout: time.Minute,
			}, nil)
			batches := &batcher{partitions: 8, batchBytes: 1 << 20, openBytes: 32 << 20, forced: -1, open: map[int32]*lineBatch{}, emit: p.send, fresh: p.fresh}
			keys := make([][]byte, 300)
			for i := range keys {
				keys[i] = []byte("key-" + strconv.Itoa(i))
			}
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(i*i>>3) | 1
			}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			n := int64(0)
			for b.Loop() {
				n++
				if err := batches.add(keys[n%300], value, n); err != nil {
					b.Fatal(err)
				}
			}
			if err := batches.flush(); err != nil {
				b.Fatal(err)
			}
			if d := p.close(); d.err != nil || d.records != n {
				b.Fatalf("%d records of %d, %v", d.records, n, d.err)
			}
		})
	}
}
