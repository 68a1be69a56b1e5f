package apitest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"slices"
)

const (
	asGzip = "Content-Encoding: gzip"
	asZstd = "Content-Encoding: zstd"
)

// gzipOf compresses with the standard library, which the node does not use.
func gzipOf(plain []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(plain); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// The parts of a zstd frame (RFC 8878, 3.1.1), by hand.
const (
	zstdBlockMax   = 128 << 10
	zstdRaw        = 0
	zstdRepeated   = 1
	zstdWindow8MiB = 13 << 3 // window descriptor
)

func zstdFrame(descriptor byte, rest []byte, blocks ...[]byte) []byte {
	frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, descriptor}, rest...)
	return slices.Concat(append([][]byte{frame}, blocks...)...)
}

func zstdBlock(kind, size int, last bool, content []byte) []byte {
	header := uint32(size<<3 | kind<<1)
	if last {
		header |= 1
	}
	return append(binary.LittleEndian.AppendUint32(nil, header)[:3], content...)
}

// zstdOf stores bytes in a frame with a window of 8 MiB, without compression.
func zstdOf(plain []byte) []byte {
	var blocks [][]byte
	for len(plain) > zstdBlockMax {
		blocks = append(blocks, zstdBlock(zstdRaw, zstdBlockMax, false, plain[:zstdBlockMax]))
		plain = plain[zstdBlockMax:]
	}
	blocks = append(blocks, zstdBlock(zstdRaw, len(plain), true, plain))
	return zstdFrame(0, []byte{zstdWindow8MiB}, blocks...)
}

// zstdBomb repeats a byte some GiB long.
func zstdBomb(b byte) []byte {
	const blocks = 32 << 10
	bomb := bytes.Repeat(zstdBlock(zstdRepeated, zstdBlockMax, false, []byte{b}), blocks)
	return zstdFrame(0, []byte{zstdWindow8MiB}, bomb, zstdBlock(zstdRaw, 0, true, nil))
}

// encodingCases are bodies that are not what their Content-Encoding says, or say
// too little of what they are.
func encodingCases() []Case {
	const partition = "/v1/topics/$T/partitions/1/records"
	records := []byte(`{"records":[{"value":"a"}]}`)
	// Where a body goes, with one that would be good, and how large it may be.
	type place struct {
		name, method, path, media string
		body                      []byte
		limit                     int
		tooLarge                  string
	}
	places := []place{
		{"json", "POST", "/v1/topics/$T/records", asJSON, records, 16 << 20, "body_too_large"},
		{"lines", "POST", partition, asLines, []byte("a\nb\n"), 1 << 20, "record_too_large"},
		{"batch", "POST", partition, asBatch, batch("a"), 16 << 20, "body_too_large"},
		{"raw", "POST", partition, "Content-Type: text/plain", []byte("a"), 1 << 20, "record_too_large"},
		{"topic", "PUT", "/v1/topics/new", asJSON, []byte(`{"partitions":1}`), 64 << 10, "body_too_large"},
		{"settings", "PATCH", "/v1/topics/$T", asJSON, []byte(`{"partitions":2}`), 64 << 10, "body_too_large"},
		{"fence", "PUT", "/v1/topics/$T/partitions/1/fence", asJSON, []byte(`{"token":"a"}`), 64 << 10, "body_too_large"},
		{"producers", "POST", "/v1/producers", asJSON, []byte(`{}`), 64 << 10, "body_too_large"},
		{"fetch", "POST", "/v1/fetch", asJSON, []byte(`{"partitions":[{"topic":"$T","partition":0,"offset":1}]}`), 512 << 10, "body_too_large"},
	}
	var all []Case
	for _, p := range places {
		add := func(name, encoding string, body []byte, status int, code, detail string) *Case {
			all = append(all, Case{
				Name: "encoding/" + p.name + "/" + name, Method: p.method, Path: p.path, Header: []string{p.media, encoding},
				Body: func() []byte { return body }, Status: status, Code: code, Detail: detail,
			})
			return &all[len(all)-1]
		}
		bad := func(name, encoding string, body []byte, detail string) {
			add(name, encoding, body, 400, "invalid_encoding", detail)
		}
		zipped := gzipOf(p.body)
		bad("gzip that is none", asGzip, p.body, "header")
		bad("gzip cut off", asGzip, zipped[:len(zipped)-5], "too early")
		bad("gzip and garbage", asGzip, slices.Concat(zipped, []byte("garbage")), "header")
		bad("zstd that is none", asZstd, p.body, "header")
		bad("zstd cut off", asZstd, zstdOf(p.body)[:len(p.body)+8], "too early")
		bad("zstd and garbage", asZstd, slices.Concat(zstdOf(p.body), []byte("garbage")), "header")
		add("br", "Content-Encoding: br", p.body, 415, "unsupported_content_encoding", "br").Answered = []string{"Accept-Encoding: gzip, zstd"}

		over := bytes.Repeat([]byte("x"), p.limit+1)
		members := []string{"limit"}
		add("gzip over the limit", asGzip, gzipOf(over), 413, p.tooLarge, "").Members = members
		c := add("zstd over the limit", asZstd, zstdBomb('x'), 413, p.tooLarge, "")
		c.Members, c.Chunked = members, true
	}
	raw := func(name, encoding string, body []byte, status int, code, detail string) {
		all = append(all, Case{
			Name: "encoding/" + name, Path: partition, Header: []string{encoding}, Body: func() []byte { return body },
			Status: status, Code: code, Detail: detail,
		})
	}
	bad := func(name, encoding string, body []byte, detail string) {
		raw(name, encoding, body, 400, "invalid_encoding", detail)
	}
	zipped := gzipOf([]byte("a"))
	wrong := func(pos int) []byte {
		b := slices.Clone(zipped)
		b[len(b)+pos] ^= 1
		return b
	}
	bad("gzip of nothing", asGzip, nil, "too early")
	bad("gzip header cut off", asGzip, zipped[:5], "too early")
	bad("gzip checksum", asGzip, wrong(-8), "checksum")
	bad("gzip length", asGzip, wrong(-4), "checksum")
	bad("gzip block type", asGzip, slices.Concat(zipped[:10], []byte{7}, zipped[11:]), "damaged")
	bad("gzip and a cut one", asGzip, slices.Concat(zipped, zipped[:7]), "too early")
	bad("gzip and one cut within its name", asGzip, slices.Concat(zipped, []byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff, 'n'}), "too early")
	bad("gzip of empty ones", asGzip, bytes.Repeat(gzipOf(nil), 20_000), "nothing")
	bad("x-gzip that is none", "Content-Encoding: x-gzip", []byte("a"), "header")
	bad("deflate for gzip", asGzip, []byte{0x78, 0x9c, 0x4b, 4, 0, 0, 0x62, 0, 0x62}, "header")

	frame := zstdOf([]byte("a"))
	bad("zstd of nothing", asZstd, nil, "too early")
	bad("zstd magic cut off", asZstd, frame[:3], "too early")
	bad("zstd magic cut off after a frame", asZstd, slices.Concat(frame, frame[:2]), "too early")
	bad("zstd header cut off", asZstd, frame[:5], "too early")
	bad("zstd without a last block", asZstd, zstdFrame(0, []byte{0}, zstdBlock(zstdRaw, 1, false, []byte("a"))), "too early")
	bad("zstd checksum", asZstd, zstdFrame(4, []byte{0}, zstdBlock(zstdRaw, 1, true, []byte("a")), make([]byte, 4)), "checksum")
	bad("zstd without its checksum", asZstd, zstdFrame(4, []byte{0}, zstdBlock(zstdRaw, 1, true, []byte("a"))), "too early")
	bad("zstd block type", asZstd, zstdFrame(0, []byte{0}, zstdBlock(3, 1, true, []byte("a"))), "damaged")
	bad("zstd dictionary", asZstd, zstdFrame(1, []byte{0, 7}, zstdBlock(zstdRaw, 1, true, []byte("a"))), "dictionary")
	bad("zstd less than it says", asZstd, zstdFrame(0x20, []byte{2}, zstdBlock(zstdRaw, 1, true, []byte("a"))), "damaged")
	bad("zstd more than it says", asZstd, zstdFrame(0x20, []byte{1}, zstdBlock(zstdRaw, 2, true, []byte("ab"))), "damaged")
	bad("zstd frames to skip", asZstd, bytes.Repeat(append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 4, 0, 0}, make([]byte, 1024)...), 400), "nothing")
	bad("zstd frame to skip cut off", asZstd, []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 0}, "too early")
	bad("zstd window of 16 MiB", asZstd, zstdFrame(0, []byte{14 << 3}, zstdBlock(zstdRaw, 1, true, []byte("a"))), "window")
	bad("zstd window of terabytes", asZstd, zstdFrame(0, []byte{0xff}, zstdBlock(zstdRaw, 1, true, []byte("a"))), "window")
	raw("zstd that says it is long", asZstd, zstdFrame(0xe0, []byte{0, 0, 0, 0, 0, 1, 0, 0}, zstdBlock(zstdRaw, 1, true, []byte("a"))), 413, "record_too_large", "")

	refused := func(name string, headers ...string) {
		all = append(all, Case{
			Name: "encoding/" + name, Path: partition, Header: headers, Body: text("a"),
			Status: 415, Code: "unsupported_content_encoding", Answered: []string{"Accept-Encoding: gzip, zstd"}, Members: []string{"supported"},
		})
	}
	refused("deflate", "Content-Encoding: deflate")
	refused("aws-chunked", "Content-Encoding: aws-chunked")
	refused("twice gzip", "Content-Encoding: gzip, gzip")
	refused("gzip in zstd", "Content-Encoding: gzip, zstd")
	refused("two headers", asGzip, asZstd)
	refused("identity and gzip", "Content-Encoding: identity, gzip")
	refused("with a parameter", "Content-Encoding: gzip;q=1")

	slow := func(name, media, encoding string, body []byte) {
		all = append(all, Case{
			Name: "encoding/slow " + name, Path: partition, Header: []string{media, encoding}, Announced: 1000,
			Body: func() []byte { return body }, Status: 408, Code: "slow_body",
		})
	}
	slow("gzip", "Content-Type: text/plain", asGzip, zipped[:12])
	slow("zstd of lines", asLines, asZstd, frame[:9])

	// What is encoded is bounded, too.
	const over = 16<<20 + 64<<10 + 1
	all = append(all,
		Case{Name: "encoding/announced over the limit", Path: "/v1/topics/$T/records", Header: []string{asJSON, asGzip}, Announced: over, Body: text(""), Status: 413, Code: "body_too_large", Members: []string{"limit"}},
		Case{Name: "encoding/lines that end in garbage", Path: partition, Header: []string{asLines, asGzip}, Body: func() []byte { return slices.Concat(gzipOf([]byte("a\nb\n")), []byte("x")) }, Status: 400, Code: "invalid_encoding"},
		Case{Name: "encoding/bad chunk", Path: partition, Header: []string{asGzip}, Framing: []string{"Transfer-Encoding: chunked", "", "zz"}, Status: 400, Code: "invalid_body"},
		Case{Name: "encoding/GET with a body", Method: "GET", Path: "/v1/topics/$T", Header: []string{asGzip}, Body: func() []byte { return zipped }, Status: 400, Code: "invalid_body"},
	)
	return all
}
