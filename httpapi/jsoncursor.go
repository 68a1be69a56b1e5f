package httpapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// cursor walks a JSON text of RFC 7493's strict kind: valid UTF-8, no name
// twice in an object. Its errors are problems that name the place, as in
// records[3].timestamp.
type cursor struct {
	dec   *jsontext.Decoder
	shape kind // of errors in what is valid JSON
}

func newCursor(text []byte) *cursor {
	return &cursor{dec: jsontext.NewDecoder(bytes.NewBuffer(text)), shape: kindInvalidJSON}
}

// value reads the next value, whatever it is. It is valid until the next call.
func (c *cursor) value() (jsontext.Value, error) {
	raw, err := c.dec.ReadValue()
	if err != nil {
		return nil, c.syntax(err)
	}
	return raw, nil
}

// object reads an object; member reads the value of each member.
func (c *cursor) object(member func(name string) error) error {
	if err := c.begin('{', "must be an object"); err != nil {
		return err
	}
	for c.dec.PeekKind() != '}' {
		token, err := c.dec.ReadToken()
		if err != nil {
			return c.syntax(err)
		}
		if err := member(token.String()); err != nil {
			return err
		}
	}
	return c.close()
}

// array reads an array; element reads each element.
func (c *cursor) array(element func(i int) error) error {
	if err := c.begin('[', "must be an array"); err != nil {
		return err
	}
	for i := 0; c.dec.PeekKind() != ']'; i++ {
		// A syntax error shows as a kind of its own, and element runs into it.
		if err := element(i); err != nil {
			return err
		}
	}
	return c.close()
}

func (c *cursor) begin(open jsontext.Kind, otherwise string) error {
	if c.dec.PeekKind() != open {
		if _, err := c.value(); err != nil {
			return err
		}
		return c.wrong(otherwise)
	}
	return c.close()
}

// close reads one token, which is known to open or close something.
func (c *cursor) close() error {
	if _, err := c.dec.ReadToken(); err != nil {
		return c.syntax(err)
	}
	return nil
}

// end makes sure that nothing follows.
func (c *cursor) end() error {
	_, err := c.dec.ReadToken()
	switch {
	case err == io.EOF:
		return nil
	case err == nil:
		return kindInvalidJSON.newf("the body goes on after its JSON value, at byte %d", c.dec.InputOffset())
	}
	return c.syntax(err)
}

// integer reads an integer from low to high.
func (c *cursor) integer(low, high int64) (int64, error) {
	raw, err := c.value()
	if err != nil {
		return 0, err
	}
	if raw.Kind() != '0' || bytes.ContainsAny(raw, ".eE") {
		return 0, c.wrong("must be an integer")
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < low || n > high {
		return 0, c.wrong("must be an integer from " + itoa(low) + " to " + itoa(high))
	}
	return n, nil
}

// unquote appends the text of a JSON string to dst.
func (c *cursor) unquote(dst []byte, raw jsontext.Value) ([]byte, error) {
	if raw.Kind() != '"' {
		return dst, c.wrong("must be a string")
	}
	if bytes.IndexByte(raw, '\\') < 0 { // nothing is escaped; the decoder has checked the UTF-8
		return append(dst, raw[1:len(raw)-1]...), nil
	}
	dst, err := jsontext.AppendUnquote(dst, raw)
	if err != nil {
		return dst, c.wrong("is not a valid string")
	}
	return dst, nil
}

// text reads a string.
func (c *cursor) text() (string, error) {
	raw, err := c.value()
	if err != nil {
		return "", err
	}
	text, err := c.unquote(nil, raw)
	return string(text), err
}

// base64 appends the bytes of a JSON string in standard base64, with padding, to dst.
func (c *cursor) base64(dst []byte, raw jsontext.Value) ([]byte, error) {
	begin := len(dst)
	dst, err := c.unquote(dst, raw)
	if err != nil {
		return dst, err
	}
	text := dst[begin:]
	// The decoder passes over line breaks; here they would be two texts for the same bytes.
	if bytes.ContainsAny(text, "\r\n") {
		return dst, c.wrong("is not valid base64")
	}
	n, err := base64.StdEncoding.Strict().Decode(text, text) // the bytes never overtake their text
	if err != nil {
		return dst, c.wrong("is not valid base64")
	}
	return dst[:begin+n], nil
}

// unknown refuses a member.
func (c *cursor) unknown(string) error {
	return c.wrong("is not known here")
}

// wrong is an error about the value, or the name, that was read last.
func (c *cursor) wrong(what string) error {
	return c.shape.newf("%s", place(c.dec.StackPointer())+" "+what)
}

func (c *cursor) syntax(err error) error {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntactic):
		detail := syntactic.Err.Error() + " at byte " + itoa(syntactic.ByteOffset)
		if syntactic.JSONPointer != "" {
			detail += ", in " + place(syntactic.JSONPointer)
		}
		return kindInvalidJSON.newf("%s", detail)
	case err == io.EOF:
		return kindInvalidJSON.newf("the body is empty")
	}
	return kindInvalidJSON.newf("the body ends within its JSON value")
}

// place turns a JSON Pointer (RFC 6901) into what people write: records[3].timestamp.
func place(pointer jsontext.Pointer) string {
	var b strings.Builder
	for token := range pointer.Tokens() {
		if token != "" && strings.Trim(token, "0123456789") == "" {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	if b.Len() == 0 {
		return "the body"
	}
	return b.String()
}
