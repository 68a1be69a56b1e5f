package httpapi

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// appendJSONString appends text, which must be valid UTF-8, as a JSON string.
func appendJSONString[T ~string | ~[]byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	begin := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[begin:i]...)
		begin = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, text[begin:]...)
	return append(dst, '"')
}

func appendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendRecord appends a record as one JSON object.
func appendRecord(dst []byte, r *recordbatch.Record) []byte {
	dst = append(dst, `{"offset":`...)
	dst = strconv.AppendInt(dst, int64(r.Offset), 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp, 10)
	dst = appendText(dst, `,"key`, r.Key)
	dst = appendText(dst, `,"value`, r.Value)
	dst = append(dst, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		dst = appendHeaderName(dst, h.Key)
		switch {
		case h.Value == nil:
			dst = append(dst, `,null]`...)
		case utf8.Valid(h.Value):
			dst = append(dst, ',')
			dst = appendJSONString(dst, h.Value)
			dst = append(dst, ']')
		default:
			dst = append(dst, `,{"base64":`...)
			dst = appendBase64(dst, h.Value)
			dst = append(dst, "}]"...)
		}
	}
	return append(dst, "]}"...)
}

// appendHeaderName appends a header's name. Kafka says that it is UTF-8 and
// checks nothing; one that is not gets the same form as a value that is not.
func appendHeaderName(dst []byte, name string) []byte {
	if utf8.ValidString(name) {
		return appendJSONString(dst, name)
	}
	dst = append(dst, `{"base64":`...)
	dst = appendBase64(dst, []byte(name))
	return append(dst, '}')
}

// appendText appends a key or value as a member whose name begins with name,
// and tells by the name whether it is text.
func appendText(dst []byte, name string, text []byte) []byte {
	dst = append(dst, name...)
	switch {
	case text == nil:
		return append(dst, `":null`...)
	case utf8.Valid(text):
		dst = append(dst, `":`...)
		return appendJSONString(dst, text)
	default:
		dst = append(dst, `_base64":`...)
		return appendBase64(dst, text)
	}
}

// appendCompact appends a valid JSON value without the white space around its tokens.
func appendCompact(dst, raw []byte) []byte {
	quoted := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case quoted && c == '\\':
			dst = append(dst, c)
			i++
			c = raw[i]
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
