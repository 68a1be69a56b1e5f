package httpapi

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// keyFinder takes keys from JSON objects. It belongs to one goroutine.
type keyFinder struct {
	field []byte // the name of the member
	in    bytes.Buffer
	dec   *jsontext.Decoder
}

func newKeyFinder(field string) *keyFinder {
	return &keyFinder{field: []byte(field), dec: new(jsontext.Decoder)}
}

// key returns the value of the field at the top level of line: the text of a
// string, the compact JSON of anything else, nil for null or if there is no
// such field. It may point into line. The line must be one JSON object; what is
// wrong with it is returned in words.
func (k *keyFinder) key(line []byte) (key []byte, wrong string) {
	k.in = *bytes.NewBuffer(line)
	// Names that repeat are looked for in the one member that matters; to do it
	// for all would keep a table of names for every object.
	k.dec.Reset(&k.in, jsontext.AllowDuplicateNames(true))
	if k.dec.PeekKind() != '{' {
		if _, err := k.dec.ReadValue(); err != nil {
			return nil, "is not valid JSON"
		}
		return nil, "is not a JSON object"
	}
	if _, err := k.dec.ReadToken(); err != nil {
		return nil, "is not valid JSON"
	}
	found := false
	for k.dec.PeekKind() != '}' {
		name, err := k.dec.ReadValue()
		if err != nil {
			return nil, "is not valid JSON"
		}
		match := k.is(name)
		value, err := k.dec.ReadValue()
		if err != nil {
			return nil, "is not valid JSON"
		}
		if !match {
			continue
		}
		if found {
			return nil, "has the key field twice"
		}
		found = true
		key = keyOf(value)
	}
	if _, err := k.dec.ReadToken(); err != nil {
		return nil, "is not valid JSON"
	}
	if k.dec.PeekKind() != 0 || k.dec.InputOffset() != int64(len(bytes.TrimRight(line, " \t\r\n"))) {
		return nil, "goes on after its JSON object"
	}
	return key, ""
}

// is tells whether a name as it is written is that of the field.
func (k *keyFinder) is(name jsontext.Value) bool {
	if bytes.IndexByte(name, '\\') < 0 {
		return bytes.Equal(name[1:len(name)-1], k.field)
	}
	text, err := jsontext.AppendUnquote(nil, name)
	return err == nil && bytes.Equal(text, k.field)
}

func keyOf(value jsontext.Value) []byte {
	switch {
	case value.Kind() == 'n':
		return nil
	case value.Kind() != '"':
		return appendCompact(nil, value)
	case bytes.IndexByte(value, '\\') < 0:
		return value[1 : len(value)-1 : len(value)-1]
	}
	text, err := jsontext.AppendUnquote([]byte{}, value)
	if err != nil { // the decoder has read it, so it is valid
		return nil
	}
	return text
}
