package client

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// yes acknowledges whatever it is sent, and costs next to nothing.
type yes struct{}

func (yes) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(path) == 2:
		return reply(r, 200, mediaJSON, `{"producer_id":1,"epoch":0}`), nil
	case len(path) == 3:
		return reply(r, 200, mediaJSON, `{"name":"t","partitions":8}`), nil
	}
	header, err := recordbatch.ParseHeader(body)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`{"results":[{"partition":%s,"base_offset":0,"count":%d,"timestamp":0}]}`, path[4], header.RecordCount)
	return reply(r, 200, mediaJSON, text), nil
}

// BenchmarkProducer is what a Producer does for a record, without a node and the
// network. BenchmarkProduceLines in cmd/wadi is the same for wadi produce.
func BenchmarkProducer(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, inFlight := range []int{1, 5} {
			b.Run(fmt.Sprintf("bytes=%d/in-flight=%d", size, inFlight), func(b *testing.B) {
				c, err := New(Config{Servers: []string{"http://x"}, HTTPClient: &http.Client{Transport: yes{}}})
				if err != nil {
					b.Fatal(err)
				}
				p, err := c.NewProducer(ProducerConfig{Topic: "t", InFlight: inFlight})
				if err != nil {
					b.Fatal(err)
				}
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
				for i := 0; b.Loop(); i++ {
					if _, err := p.Produce(b.Context(), Record{Key: keys[i%len(keys)], Value: value}); err != nil {
						b.Fatal(err)
					}
				}
				if err := p.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
