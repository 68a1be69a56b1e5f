package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// documented wraps a node's handler: every request that it serves, and every
// answer that it gives, must be as openapi.yaml says. The servers of the tests
// of this package stand behind it, but for those that measure.
func documented(t testing.TB, h http.Handler) http.Handler {
	doc, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &observed{ResponseWriter: w, r: r.Clone(r.Context())}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = &observedBody{ReadCloser: r.Body, seen: &e.sent}
		}
		ended := false
		defer func() {
			e.broken = !ended
			for _, err := range doc.check(e) {
				t.Errorf("%s %s, answered %d: not as in openapi.yaml: %v\nrequest: %.300q\nanswer: %.600q",
					r.Method, r.RequestURI, e.status, err, e.sent.bytes(), e.answer.bytes())
			}
		}()
		h.ServeHTTP(e, r)
		ended = true
	})
}

// observedMax is how much of a body is kept; one that is longer is not validated.
const observedMax = 1 << 20

// observedText is a body, or its beginning.
type observedText struct {
	mu   sync.Mutex // guards buf and long; a body may be read by another goroutine
	buf  bytes.Buffer
	long bool
}

func (o *observedText) add(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len()+len(p) > observedMax {
		o.long = true
		return
	}
	o.buf.Write(p)
}

func (o *observedText) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Bytes()
}

type observedBody struct {
	io.ReadCloser
	seen *observedText
}

func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.seen.add(p[:n])
	return n, err
}

// observed is one request with its answer.
type observed struct {
	http.ResponseWriter
	r      *http.Request // as it came
	sent   observedText
	status int
	header http.Header // of the answer, when it began
	answer observedText
	broken bool // the answer was broken off
}

// Unwrap lets http.ResponseController find the connection.
func (e *observed) Unwrap() http.ResponseWriter { return e.ResponseWriter }

func (e *observed) WriteHeader(status int) {
	if e.status == 0 {
		e.status, e.header = status, e.Header().Clone()
	}
	e.ResponseWriter.WriteHeader(status)
}

func (e *observed) Write(p []byte) (int, error) {
	if e.status == 0 {
		e.WriteHeader(http.StatusOK)
	}
	e.answer.add(p)
	return e.ResponseWriter.Write(p)
}

// check returns what is not as it is documented.
func (d *apiDocument) check(e *observed) []error {
	if e.status == 0 || e.status == kindClientWentOff.status {
		return nil // nobody was told anything
	}
	method := e.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := e.r.URL.EscapedPath()
	op, values, ok := d.find(method, path)
	if !ok {
		return d.checkUnknown(e)
	}
	_, res := d.object(op.place.in("responses", fmt.Sprint(e.status)))
	if v, _ := d.at(res); v == nil {
		return []error{errors.New("the status is not documented")}
	}
	errs := append(d.checkHeaders(res, e), d.checkAnswer(res, e)...)
	request := d.checkRequest(op, values, e)
	if e.status < 400 {
		return append(errs, request...)
	}
	if len(request) == 0 && e.r.Header.Get("Content-Encoding") == "" {
		errs = append(errs, d.checkRefusal(e)...)
	}
	return errs
}

// checkUnknown checks the answer to a request that is not documented.
func (d *apiDocument) checkUnknown(e *observed) []error {
	for name, status := range map[string]int{"NotFound": 404, "MethodNotAllowed": 405, "Overloaded": 503, "Internal": 500} {
		if status == e.status {
			res := docPlace("/components/responses").in(name)
			return append(d.checkHeaders(res, e), d.checkAnswer(res, e)...)
		}
	}
	for _, code := range []string{"invalid_topic_name", "invalid_group_name", "invalid_member_id"} {
		if bytes.Contains(e.answer.bytes(), []byte(`"code":"`+code+`"`)) {
			return nil // an empty name, or one that is wrongly escaped
		}
	}
	return []error{errors.New("there is no such operation")}
}

// httpHeaders are headers of HTTP itself, which no document lists.
var httpHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Content-Type": true, "Date": true, "Transfer-Encoding": true, "Vary": true,
	"Content-Encoding": true,
}

func (d *apiDocument) checkHeaders(res docPlace, e *observed) []error {
	var errs []error
	headers, at := d.object(res.in("headers"))
	names := map[string]string{}
	for name := range headers {
		h, at := d.object(at.in(name))
		canonical := http.CanonicalHeaderKey(name)
		names[canonical] = name
		values := e.header.Values(canonical)
		if len(values) == 0 {
			if required, _ := h["required"].(bool); required {
				errs = append(errs, fmt.Errorf("header %s is missing", name))
			}
			continue
		}
		if err := d.validateText(at.in("schema"), strings.Join(values, ", ")); err != nil {
			errs = append(errs, fmt.Errorf("header %s: %w", name, err))
		}
	}
	for name := range e.header {
		if names[name] == "" && !httpHeaders[name] {
			errs = append(errs, fmt.Errorf("header %s of the answer is not documented", name))
		}
	}
	return errs
}

func (d *apiDocument) checkAnswer(res docPlace, e *observed) []error {
	content, at := d.object(res.in("content"))
	text := e.answer.bytes()
	if content == nil {
		if len(text) > 0 {
			return []error{errors.New("there is a body")}
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(e.header.Get("Content-Type"))
	if err != nil {
		return []error{fmt.Errorf("Content-Type %q: %w", e.header.Get("Content-Type"), err)}
	}
	if content[media] == nil {
		return []error{fmt.Errorf("media type %s is not documented", media)}
	}
	at = at.in(media)
	if e.answer.long || e.r.Method == http.MethodHead {
		return nil
	}
	if text, err = decodeAnswer(e.header.Get("Content-Encoding"), text); err != nil {
		if e.broken {
			return nil
		}
		return []error{err}
	}
	switch media {
	case mediaNDJSON:
		if e.r.URL.Query().Get("values_only") == "true" && e.status == http.StatusOK && e.r.Method == http.MethodGet {
			return nil
		}
		return d.checkLines(at, text)
	case mediaEventStream:
		return d.checkEvents(at, text)
	case mediaJSON, "application/problem+json":
		if e.broken && json.Unmarshal(text, new(any)) != nil {
			return nil
		}
		if err := d.validateJSON(at.in("schema"), text); err != nil {
			return []error{err}
		}
	}
	return nil
}

func decodeAnswer(encoding string, text []byte) ([]byte, error) {
	switch encoding {
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return r.DecodeAll(text, nil)
	}
	return text, nil
}

func (d *apiDocument) checkLines(at docPlace, text []byte) []error {
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) || len(line) == 1 {
			continue // broken off, or a ping
		}
		if err := d.validateJSON(at.in("x-line-schema"), line); err != nil {
			return []error{fmt.Errorf("line %.200q: %w", line, err)}
		}
	}
	return nil
}

func (d *apiDocument) checkEvents(at docPlace, text []byte) []error {
	events := strings.Split(string(text), "\n\n")
	schemas, place := d.object(at.in("x-event-schemas"))
	for _, event := range events[:len(events)-1] { // the last is empty, or broken off
		fields := map[string]string{}
		for line := range strings.Lines(event) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			fields[name] = value
		}
		if schemas[fields["event"]] == nil {
			return []error{fmt.Errorf("event %q is not documented", fields["event"])}
		}
		_, schema := d.at(place.in(fields["event"]))
		if err := d.validateJSON(schema, []byte(fields["data"])); err != nil {
			return []error{fmt.Errorf("event %.200q: %w", event, err)}
		}
	}
	return nil
}

// checkRequest returns why a request is not one that is documented.
func (d *apiDocument) checkRequest(op docOperation, values map[string]string, e *observed) []error {
	var errs []error
	query, err := url.ParseQuery(e.r.URL.RawQuery)
	if err != nil {
		return []error{err}
	}
	for _, p := range d.parameters(op) {
		var given []string
		switch p.in {
		case "path":
			given = []string{values[p.name]}
		case "query":
			given = query[p.name]
			delete(query, p.name)
		case "header":
			given = e.r.Header.Values(p.name)
		}
		switch {
		case len(given) == 0 && p.required:
			errs = append(errs, fmt.Errorf("%s %s is missing", p.in, p.name))
		case len(given) > 1 && p.name != "If-None-Match" && p.name != "X-Request-Id":
			errs = append(errs, fmt.Errorf("%s %s is given %d times", p.in, p.name, len(given)))
		case len(given) == 1 && p.name != "X-Request-Id": // that never makes a request a bad one
			text := strings.TrimSpace(given[0])
			if p.name == "Content-Encoding" { // RFC 9110, 8.4.1: in any case
				text = strings.ToLower(text)
			}
			if err := d.validateText(p.schema, text); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", p.in, p.name, err))
			}
		}
	}
	if op.path != "/healthz" && op.path != "/readyz" && op.path != "/metrics" { // probes may say anything
		for name := range query {
			errs = append(errs, fmt.Errorf("query parameter %s is not documented", name))
		}
	}
	return append(errs, d.checkBody(op, e)...)
}

func (d *apiDocument) checkBody(op docOperation, e *observed) []error {
	body, at := d.object(op.place.in("requestBody"))
	text := e.sent.bytes()
	switch {
	case body == nil && len(text) > 0:
		return []error{errors.New("there is a body")}
	case body == nil || e.sent.long || e.r.Header.Get("Content-Encoding") != "":
		return nil
	case len(text) == 0 && e.r.Header.Get("Content-Type") == "":
		if required, _ := body["required"].(bool); required {
			return []error{errors.New("the body is missing")}
		}
		return nil
	}
	content, at := d.object(at.in("content"))
	media, _, _ := mime.ParseMediaType(e.r.Header.Get("Content-Type"))
	if content[media] == nil {
		media = "*/*"
	}
	if content[media] == nil {
		if e.r.Header.Get("Content-Type") != "" {
			return []error{fmt.Errorf("media type %s is not documented", e.r.Header.Get("Content-Type"))}
		}
		media = mediaJSON
	}
	switch {
	case media == mediaForm:
		media = mediaJSON
	case !strings.HasSuffix(media, "json") || media == mediaNDJSON:
		return nil
	}
	if len(text) == 0 && body["required"] != true && content["*/*"] == nil {
		return nil // nothing is an empty object
	}
	if err := d.validateJSON(at.in(media, "schema"), text); err != nil {
		return []error{fmt.Errorf("body: %w", err)}
	}
	return nil
}

// beyondSchemas are refusals, by a part of their detail, of requests that are
// well-formed by their schemas: what goes together is said in words only.
var beyondSchemas = []string{
	"values_only needs Accept", "Last-Event-ID needs Accept", "has no meaning for a stream",
	"offset is needed", "until needs a numeric offset", "must not be below offset", "must not be below from", "must not be over max_bytes",
	"parameter key is not known here", "parameter key_field is not known here", // not with this media type
	"line 1 ", "line 2 ", // of NDJSON with key_field
	"is not the partition in the path", "names a partition that is named before",
	"belong together", "does not go with", "do not go with", "lacks the name of the record's header",
	"bytes of metadata", "must be at most 1024 bytes", // lengths in schemas are those in characters
	"duplicate object member name", "invalid surrogate pair", "invalid UTF-8", // not the JSON of RFC 7493
	"must be an integer", // 1.0 and 1e0, which JSON Schema takes for 1
}

// checkRefusal checks that a request that the document allows was not refused
// as malformed.
func (d *apiDocument) checkRefusal(e *observed) []error {
	var p struct{ Code, Detail string }
	if e.answer.long || json.Unmarshal(e.answer.bytes(), &p) != nil {
		return nil
	}
	switch p.Code {
	case "invalid_parameter", "invalid_header", "invalid_json", "invalid_record", "invalid_topic_name",
		"invalid_group_name", "invalid_member_id", "invalid_config", "invalid_partitions":
	default:
		return nil
	}
	for _, part := range beyondSchemas {
		if strings.Contains(p.Detail, part) {
			return nil
		}
	}
	return []error{fmt.Errorf("the document allows what was refused: %s: %s", p.Code, p.Detail)}
}
