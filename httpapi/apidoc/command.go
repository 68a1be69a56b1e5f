package apidoc

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// command is a call of curl with the examples of a document.
type command struct {
	Text string
}

// commandServer is the node that commands are sent to.
const commandServer = "http://localhost:8080"

// commands makes one for each media type of the request, or of the answer, that
// has an example; or else one.
func commands(method, path string, parameters []node, op member) []command {
	target := commandURL(path, parameters)
	curl := "curl"
	content := op.get("requestBody").resolve().get("content").members()
	hasBody := len(content) > 0
	if method != "GET" && (method != "POST" || !hasBody) {
		curl += " -X " + method
	}
	var all []command
	for _, m := range content {
		example := exampleText(m.get("example"))
		if example == "" {
			continue
		}
		text := curl + " " + quote(target)
		if m.name != "*/*" {
			text += " \\\n  -H " + quote("Content-Type: "+m.name)
		}
		all = append(all, command{text + " \\\n  --data-binary " + quote(strings.TrimSuffix(example, "\n"))})
	}
	if len(all) > 0 {
		return all
	}
	all = append(all, command{curl + " " + quote(target)})
	for i, m := range op.get("responses", "200").resolve().get("content").members() {
		if i == 0 || method != "GET" || !m.get("example").exists() {
			continue
		}
		streams := ""
		if m.get("x-event-schemas").exists() {
			streams = " -N"
		}
		all = append(all, command{curl + streams + " " + quote(target) + " \\\n  -H " + quote("Accept: "+m.name)})
	}
	return all
}

// commandURL fills the path in, and the parameters of the query that have an example.
func commandURL(path string, parameters []node) string {
	var query []string
	for _, p := range parameters {
		name, example := p.get("name").text(), p.get("example").text()
		switch {
		case example == "":
		case p.get("in").text() == "path":
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(example))
		case p.get("in").text() == "query":
			query = append(query, url.QueryEscape(name)+"="+url.QueryEscape(example))
		}
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	return commandServer + path
}

// quote makes one word of a text, for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// exampleText is an example as it goes over the wire.
func exampleText(n node) string {
	if !n.exists() {
		return ""
	}
	if n.isString() {
		return n.text()
	}
	var out bytes.Buffer
	writeJSON(&out, n)
	return out.String()
}

// writeJSON writes a node as JSON, with the members in the order of the document.
func writeJSON(out *bytes.Buffer, n node) {
	switch n.yaml.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for i, m := range n.members() {
			if i > 0 {
				out.WriteString(", ")
			}
			writeJSONString(out, m.name)
			out.WriteString(": ")
			writeJSON(out, m.node)
		}
		out.WriteByte('}')
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.items() {
			if i > 0 {
				out.WriteString(", ")
			}
			writeJSON(out, item)
		}
		out.WriteByte(']')
	default:
		if n.isString() {
			writeJSONString(out, n.text())
			return
		}
		out.WriteString(n.text()) // a number, true, false or null
	}
}

func writeJSONString(out *bytes.Buffer, text string) {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string can always be encoded
	out.Truncate(out.Len() - 1)
}
