package apidoc

import (
	"fmt"
	"html/template"
	"strings"
)

// reference is what the page shows of a document.
type reference struct {
	Title, Version, Summary string
	Description             template.HTML
	Tags                    []*tag
	EveryRequest            []parameter // what all requests may have, and is not said of each
	EveryAnswer             []parameter // the same of the headers of answers
	EveryProblem            []parameter // and of those that all problems have beside them
	Schemas                 []namedSchema
	Problems                []problem
}

// tag is a group of operations.
type tag struct {
	Name, Anchor string
	Description  template.HTML
	Operations   []operation
}

type operation struct {
	Anchor, Method, Path, Summary string
	Description                   template.HTML
	Parameters                    []parameter
	Body                          *requestBody
	Answers                       []answer
	Commands                      []command
}

type parameter struct {
	Name, Place string
	Required    bool
	Description template.HTML
	Schema      template.HTML
}

type requestBody struct {
	Required    bool
	Description template.HTML
	Media       []media
}

type answer struct {
	Status, Class string
	Description   template.HTML
	Codes         []string // of a problem
	Headers       []parameter
	Media         []media // but for problems
}

type media struct {
	Name    string
	Schema  template.HTML
	Lines   template.HTML // of each line
	Events  []event
	Example string
}

type event struct {
	Name   string
	Schema template.HTML
}

type namedSchema struct {
	Name, Anchor string
	Schema       template.HTML
}

type problem struct {
	Code, Status, Title      string
	Retryable, NoSideEffects bool
	Operations               []link
}

type link struct{ Anchor, Text string }

const (
	problemMedia  = "application/problem+json"
	problemSchema = "#/components/schemas/Problem"
)

// methods are those that a path may have, as they are written in a document.
var methods = []string{"get", "put", "post", "patch", "delete"}

func read(doc node) (*reference, error) {
	info := doc.get("info")
	r := &reference{
		Title:       info.get("title").text(),
		Version:     info.get("version").text(),
		Summary:     info.get("summary").text(),
		Description: prose(info.get("description").text()),
	}
	tags := map[string]*tag{}
	for _, n := range doc.get("tags").items() {
		name := n.get("name").text()
		tags[name] = &tag{Name: name, Anchor: anchor("tag", name), Description: prose(n.get("description").text())}
		r.Tags = append(r.Tags, tags[name])
	}
	with := map[string][]link{} // operations with a problem's code
	for _, path := range doc.get("paths").members() {
		for _, m := range path.members() {
			if !isMethod(m.name) {
				continue
			}
			op := readOperation(path, m)
			group := tags[m.get("tags").first()]
			if group == nil {
				return nil, fmt.Errorf("%s %s has no tag that the document names", op.Method, op.Path)
			}
			group.Operations = append(group.Operations, op)
			for _, a := range op.Answers {
				for _, code := range a.Codes {
					with[code] = append(with[code], link{op.Anchor, op.Summary})
				}
			}
		}
	}
	r.factorOut()
	for _, m := range doc.get("components", "schemas").members() {
		r.Schemas = append(r.Schemas, namedSchema{m.name, anchor("schema", m.name), definition(m.node)})
	}
	for _, m := range doc.get("components", "schemas", "Problem", "properties", "code", "x-codes").members() {
		r.Problems = append(r.Problems, problem{
			Code:          m.name,
			Status:        m.get("status").text(),
			Title:         m.get("title").text(),
			Retryable:     m.get("retryable").isTrue(),
			NoSideEffects: m.get("no_side_effects").isTrue(),
			Operations:    with[m.name],
		})
	}
	return r, nil
}

func isMethod(name string) bool {
	for _, m := range methods {
		if m == name {
			return true
		}
	}
	return false
}

func (n node) first() string {
	items := n.items()
	if len(items) == 0 {
		return ""
	}
	return items[0].text()
}

func anchor(kind, name string) string {
	return kind + "-" + strings.ReplaceAll(name, " ", "-")
}

func readOperation(path, m member) operation {
	op := operation{
		Anchor:      anchor("op", m.get("operationId").text()),
		Method:      strings.ToUpper(m.name),
		Path:        path.name,
		Summary:     m.get("summary").text(),
		Description: prose(m.get("description").text()),
	}
	all := parametersOf(path, m)
	for _, p := range all {
		op.Parameters = append(op.Parameters, readParameter(p.get("name").text(), p))
	}
	if body := m.get("requestBody").resolve(); body.exists() {
		op.Body = &requestBody{
			Required:    body.get("required").isTrue(),
			Description: prose(body.get("description").text()),
			Media:       readMedia(body.get("content")),
		}
	}
	for _, res := range m.get("responses").members() {
		op.Answers = append(op.Answers, readAnswer(res))
	}
	op.Commands = commands(op.Method, op.Path, all, m)
	return op
}

// parametersOf returns the parameters of an operation: in the path, the query,
// the headers; what goes with every request comes last.
func parametersOf(path, m member) []node {
	var all []node
	for _, place := range []string{"path", "query", "header"} {
		for _, list := range []node{m.get("parameters"), path.get("parameters")} {
			for _, p := range list.items() {
				if p = p.resolve(); p.get("in").text() == place {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

func readParameter(name string, n node) parameter {
	return parameter{
		Name:        name,
		Place:       n.get("in").text(),
		Required:    n.get("required").isTrue(),
		Description: phrase(n.get("description").text()),
		Schema:      typeOf(n.get("schema")),
	}
}

func readMedia(content node) []media {
	var all []media
	for _, m := range content.members() {
		shown := media{
			Name:    m.name,
			Schema:  definition(m.get("schema")),
			Example: exampleText(m.get("example")),
		}
		if lines := m.get("x-line-schema"); lines.exists() {
			shown.Lines = definition(lines)
		}
		for _, e := range m.get("x-event-schemas").members() {
			shown.Events = append(shown.Events, event{e.name, typeOf(e.node)})
		}
		all = append(all, shown)
	}
	return all
}

func readAnswer(res member) answer {
	n := res.resolve()
	a := answer{Status: res.name, Class: res.name[:1], Description: phrase(n.get("description").text())}
	for _, h := range n.get("headers").members() {
		a.Headers = append(a.Headers, readParameter(h.name, h.resolve()))
	}
	if p := n.get("content", problemMedia, "schema"); p.exists() {
		for _, part := range p.get("allOf").items() {
			for _, code := range part.get("properties", "code", "enum").items() {
				a.Codes = append(a.Codes, code.text())
			}
		}
		return a
	}
	a.Media = readMedia(n.get("content"))
	return a
}
