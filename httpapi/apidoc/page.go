package apidoc

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// Page is a page to read, and the Content-Security-Policy to serve it with.
type Page struct {
	HTML   []byte
	Policy string
}

// NewPage makes a page of an OpenAPI document in YAML.
func NewPage(document []byte) (Page, error) {
	doc, err := parse(document)
	if err != nil {
		return Page{}, err
	}
	ref, err := read(doc)
	if err != nil {
		return Page{}, err
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return Page{}, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, struct {
		*reference
		Style template.HTML
	}{ref, template.HTML("<style>" + styleText + "</style>")})
	if err != nil {
		return Page{}, err
	}
	sum := sha256.Sum256([]byte(styleText))
	return Page{
		HTML: out.Bytes(),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}, nil
}
