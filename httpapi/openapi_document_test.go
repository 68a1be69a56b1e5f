package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// apiDocument is openapi.yaml as the tests read it.
type apiDocument struct {
	root map[string]any

	mu       sync.Mutex // guards compiler and schemas
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by their place
}

// place is a JSON pointer into the document.
type docPlace string

func (p docPlace) in(names ...string) docPlace {
	for _, name := range names {
		p += docPlace("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return p
}

const documentURL = "https://example.com/openapi.json"

var theDocument = sync.OnceValues(func() (*apiDocument, error) {
	var doc any
	if err := yaml.Unmarshal(openapiText, &doc); err != nil {
		return nil, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text)) // whole numbers stay whole
	if err != nil {
		return nil, err
	}
	d := &apiDocument{root: root.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	return d, d.compiler.AddResource(documentURL, root)
})

// at returns what is at a place, and where that is once references are followed.
func (d *apiDocument) at(p docPlace) (any, docPlace) {
	var v any = d.root
	at := docPlace("")
	for _, escaped := range strings.Split(string(p), "/")[1:] {
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(escaped)
		switch n := v.(type) {
		case map[string]any:
			v = n[name]
		case []any:
			i := 0
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(n) {
				return nil, p
			}
			v = n[i]
		default:
			return nil, p
		}
		at = at.in(name)
		if m, ok := v.(map[string]any); ok {
			if ref, ok := m["$ref"].(string); ok {
				v, at = d.at(docPlace(strings.TrimPrefix(ref, "#")))
			}
		}
	}
	return v, at
}

// object is at for a mapping; nil if there is none.
func (d *apiDocument) object(p docPlace) (map[string]any, docPlace) {
	v, at := d.at(p)
	m, _ := v.(map[string]any)
	return m, at
}

// validate tells what is wrong with a value by the schema at a place.
func (d *apiDocument) validate(p docPlace, value any) error {
	d.mu.Lock()
	s := d.schemas[string(p)]
	if s == nil {
		var err error
		if s, err = d.compiler.Compile(documentURL + "#" + (&url.URL{Path: string(p)}).EscapedPath()); err != nil {
			d.mu.Unlock()
			return err
		}
		d.schemas[string(p)] = s
	}
	d.mu.Unlock()
	return s.Validate(value)
}

// validateText validates what is written in a URL or header, where a number and
// a boolean cannot be told from a string.
func (d *apiDocument) validateText(p docPlace, text string) error {
	if _, ok := parseDecimal(text); ok && d.validate(p, json.Number(text)) == nil {
		return nil
	}
	if (text == "true" || text == "false") && d.validate(p, text == "true") == nil {
		return nil
	}
	return d.validate(p, text)
}

func (d *apiDocument) validateJSON(p docPlace, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return d.validate(p, value)
}

// operation is a method of a path.
type docOperation struct {
	method, path string
	place        docPlace
}

func (d *apiDocument) operations() []docOperation {
	var all []docOperation
	paths, at := d.object("/paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, _ := d.object(at.in(path))
		for _, method := range []string{"get", "put", "post", "patch", "delete", "head", "options", "trace"} {
			if _, ok := item[method]; ok {
				all = append(all, docOperation{strings.ToUpper(method), path, at.in(path, method)})
			}
		}
	}
	return all
}

// docParameter is a parameter of an operation.
type docParameter struct {
	name, in string
	required bool
	schema   docPlace
}

func (d *apiDocument) parameters(op docOperation) []docParameter {
	var all []docParameter
	for _, list := range []docPlace{op.place.in("parameters"), docPlace("/paths").in(op.path, "parameters")} {
		items, at := d.at(list)
		if items == nil {
			continue
		}
		for i := range items.([]any) {
			p, at := d.object(at.in(fmt.Sprint(i)))
			required, _ := p["required"].(bool)
			all = append(all, docParameter{p["name"].(string), p["in"].(string), required, at.in("schema")})
		}
	}
	return all
}

// find returns the operation of a request, with the values of the path.
func (d *apiDocument) find(method, escapedPath string) (docOperation, map[string]string, bool) {
	parts := strings.Split(escapedPath, "/")
	operations := d.operations()
	_, verb, _ := strings.Cut(parts[len(parts)-1], ":")
	hasVerb := func(op docOperation) bool { return strings.HasSuffix(op.path, "}:"+verb) }
	verbs := slices.ContainsFunc(operations, hasVerb) // it is one, and not of the value before it
	for _, op := range operations {
		names := strings.Split(op.path, "/")
		if op.method != method || len(names) != len(parts) || verbs && !hasVerb(op) {
			continue
		}
		values := map[string]string{}
		same := true
		for i, name := range names {
			if parameter, verb, ok := strings.Cut(strings.TrimPrefix(name, "{"), "}"); ok {
				text, found := strings.CutSuffix(parts[i], verb)
				value, err := url.PathUnescape(text)
				values[parameter] = value
				same = same && found && err == nil && value != ""
				continue
			}
			same = same && name == parts[i]
		}
		if same {
			return op, values, true
		}
	}
	return docOperation{}, nil, false
}
