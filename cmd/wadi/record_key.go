package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// keyFinder takes a record's key from a top-level field of its JSON value. It
// is for one goroutine.
type keyFinder struct {
	field   string
	reader  bytes.Reader
	decoder *jsontext.Decoder
	options []jsontext.Options
	key     []byte
}

func newKeyFinder(field string) *keyFinder {
	f := &keyFinder{field: field, options: []jsontext.Options{jsontext.AllowDuplicateNames(true)}}
	f.decoder = jsontext.NewDecoder(&f.reader, f.options...)
	return f
}

var errNotObject = errors.New("is not a JSON object")

// find returns the text of a string field, or any other value as compact JSON.
// The key is nil if the field is missing or null. It is valid until the next
// call. The whole value is checked to be JSON. The rules are those of
// ?key_field= in the HTTP API.
func (f *keyFinder) find(value []byte) ([]byte, error) {
	f.reader.Reset(value)
	f.decoder.Reset(&f.reader, f.options...)
	if f.decoder.PeekKind() != '{' {
		return nil, errNotObject
	}
	if _, err := f.decoder.ReadToken(); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	var key []byte
	found := false
	for f.decoder.PeekKind() != '}' {
		name, err := f.decoder.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("is not JSON: %w", err)
		}
		wanted := f.isField(name)
		field, err := f.decoder.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("is not JSON: %w", err)
		}
		if wanted && found {
			return nil, errors.New("has the key field twice")
		}
		if wanted {
			found = true
			if key, err = f.text(field); err != nil {
				return nil, err
			}
		}
	}
	if _, err := f.decoder.ReadToken(); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if f.decoder.PeekKind() != 0 || f.decoder.InputOffset() < int64(len(bytes.TrimRight(value, " \t\r\n"))) {
		return nil, errors.New("holds more than one JSON value")
	}
	return key, nil
}

// isField compares a quoted name with the field; most names need no unquoting.
func (f *keyFinder) isField(name jsontext.Value) bool {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name[1:len(name)-1]) == f.field
	}
	text, err := jsontext.AppendUnquote(nil, []byte(name))
	return err == nil && string(text) == f.field
}

func (f *keyFinder) text(value jsontext.Value) ([]byte, error) {
	switch value.Kind() {
	case 'n':
		return nil, nil
	case '"':
		var err error
		f.key, err = jsontext.AppendUnquote(f.key[:0], []byte(value))
		return notNil(f.key), err
	}
	compact := jsontext.Value(append(f.key[:0], value...))
	if err := compact.Compact(f.options...); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	f.key = compact
	return notNil(f.key), nil
}

// notNil keeps an empty key apart from none.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
