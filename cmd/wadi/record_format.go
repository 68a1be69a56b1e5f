package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wadilog/wadi/client"
)

// recordFormat appends a record as consume prints it, with the end of its line.
type recordFormat func(dst []byte, r client.Record) []byte

// parseFormat reads value, json, or a template in which %p is the partition,
// %o the offset, %t the timestamp in ms, %k the key, %v the value, %h the
// headers and %% a percent sign; \n, \t and \\ are what they are in Go.
func parseFormat(s string) (recordFormat, error) {
	switch s {
	case "value":
		return appendValueLine, nil
	case "json":
		return appendJSONLine, nil
	}
	if !strings.Contains(s, "%") {
		return nil, fmt.Errorf("%q is neither value nor json nor a template such as '%%o %%t %%k %%v'", s)
	}
	return parseTemplate(s)
}

// templatePart is a literal, or a field of the record.
type templatePart struct {
	literal string
	field   byte // 0: literal
}

func parseTemplate(s string) (recordFormat, error) {
	var parts []templatePart
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			parts = append(parts, templatePart{literal: string(literal)})
			literal = literal[:0]
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '%' && s[i] != '\\' {
			literal = append(literal, s[i])
			continue
		}
		if i+1 == len(s) {
			return nil, fmt.Errorf("%q ends in %q", s, s[i])
		}
		i++
		switch sequence := s[i-1 : i+1]; sequence {
		case "%%":
			literal = append(literal, '%')
		case `\n`:
			literal = append(literal, '\n')
		case `\t`:
			literal = append(literal, '\t')
		case `\\`:
			literal = append(literal, '\\')
		case "%p", "%o", "%t", "%k", "%v", "%h":
			flush()
			parts = append(parts, templatePart{field: s[i]})
		default:
			return nil, fmt.Errorf("%q: there is no %s", s, sequence)
		}
	}
	// A record a line, unless the template ends the line itself.
	if !bytes.HasSuffix(literal, []byte("\n")) {
		literal = append(literal, '\n')
	}
	flush()
	return func(dst []byte, r client.Record) []byte {
		for _, part := range parts {
			switch part.field {
			case 0:
				dst = append(dst, part.literal...)
			case 'p':
				dst = strconv.AppendInt(dst, int64(r.Partition), 10)
			case 'o':
				dst = strconv.AppendInt(dst, r.Offset, 10)
			case 't':
				dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
			case 'k':
				dst = append(dst, r.Key...)
			case 'v':
				dst = append(dst, r.Value...)
			case 'h':
				dst = appendHeaderText(dst, r.Headers)
			}
		}
		return dst
	}, nil
}

// appendHeaderText appends headers as name=value,name=value.
func appendHeaderText(dst []byte, headers []client.Header) []byte {
	for i, h := range headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, h.Key...), '='), h.Value...)
	}
	return dst
}

func appendValueLine(dst []byte, r client.Record) []byte {
	return append(append(dst, r.Value...), '\n')
}

// appendJSONLine appends a record in the form of the HTTP API's JSON, with its
// partition.
func appendJSONLine(dst []byte, r client.Record) []byte {
	dst = append(dst, `{"partition":`...)
	dst = strconv.AppendInt(dst, int64(r.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
	dst = appendJSONBytes(append(dst, ','), "key", r.Key)
	dst = appendJSONBytes(append(dst, ','), "value", r.Value)
	dst = append(dst, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONText(append(dst, '['), []byte(h.Key))
		dst = append(dst, ',')
		switch {
		case h.Value == nil:
			dst = append(dst, "null"...)
		case utf8.Valid(h.Value):
			dst = appendJSONText(dst, h.Value)
		default:
			dst = append(appendBase64(append(dst, `{"base64":`...), h.Value), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, "]}\n"...)
}

func appendJSONBytes(dst []byte, name string, value []byte) []byte {
	dst = append(append(dst, '"'), name...)
	switch {
	case value == nil:
		return append(dst, `":null`...)
	case utf8.Valid(value):
		return appendJSONText(append(dst, `":`...), value)
	}
	return appendBase64(append(dst, `_base64":`...), value)
}

func appendJSONText(dst, text []byte) []byte {
	// Its only error is text that is not UTF-8, for which it puts U+FFFD.
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

func appendBase64(dst, value []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), value), '"')
}
