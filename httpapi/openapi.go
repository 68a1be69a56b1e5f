package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"slices"

	"github.com/wadilog/wadi/httpapi/apidoc"
)

// openapiText describes the whole API. It is written by hand, and what is said
// in it twice, here and in the source, is compared by tests.
//
//go:embed openapi.yaml
var openapiText []byte

// versionLine is the line of openapiText that the version of the binary replaces.
const versionLine = "\n  version: dev\n"

// openapi returns the document with a version.
func openapi(version string) []byte {
	line := appendJSONString([]byte("\n  version: "), version) // a string of JSON is one of YAML
	return bytes.Replace(openapiText, []byte(versionLine), append(line, '\n'), 1)
}

// document is a text that stays the same as long as the process runs.
type document struct {
	text   []byte
	media  string
	policy string // Content-Security-Policy, "" for none
	tag    string // entity tag, without quotes
}

func newDocument(text []byte, media, policy string) document {
	sum := sha256.Sum256(text)
	return document{text, media, policy, base64.RawURLEncoding.EncodeToString(sum[:15])}
}

// newOpenAPI makes the document that /openapi.yaml serves.
func newOpenAPI(version string) document {
	return newDocument(openapi(version), "application/yaml", "")
}

// newDocsPage makes the page that /docs serves.
func newDocsPage(version string) (document, error) {
	page, err := apidoc.NewPage(openapi(version))
	if err != nil {
		return document{}, err
	}
	return newDocument(page.HTML, "text/html; charset=utf-8", page.Policy), nil
}

// serveDocument serves what get makes, which is asked when the first request comes.
func (s *Server) serveDocument(get func() (document, error)) handler {
	return func(x *exchange) error {
		if err := parseQuery(x.r).done(); err != nil {
			return err
		}
		matches, err := parseEntityTags(x.r.Header.Values("If-None-Match"))
		if err != nil {
			return err
		}
		d, err := get()
		if err != nil {
			return err
		}
		h := x.w.Header()
		// Weak, as it is the same however the text is encoded.
		h.Set("ETag", `W/"`+d.tag+`"`)
		// Nodes of two versions may stand behind one address.
		h.Set("Cache-Control", "no-cache")
		if matches.any || slices.Contains(matches.tags, d.tag) {
			x.w.WriteHeader(http.StatusNotModified)
			return nil
		}
		h.Set("Content-Type", d.media)
		if d.policy != "" {
			h.Set("Content-Security-Policy", d.policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
		}
		_ = x.w.whole(http.StatusOK, d.text) // the client is gone; there is nobody to tell
		return nil
	}
}
