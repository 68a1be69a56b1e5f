package apidoc

import (
	"html"
	"html/template"
	"strings"
)

// definition shows a schema with the members that it has.
func definition(n node) template.HTML {
	var out strings.Builder
	writeDefinition(&out, n)
	return template.HTML(out.String())
}

func writeDefinition(out *strings.Builder, n node) {
	out.WriteString(`<p class="type">` + string(typeOf(n)) + `</p>`)
	if text := n.get("description").text(); text != "" {
		out.WriteString(string(prose(text)))
	}
	writeMembers(out, n)
}

// writeMembers lists the members of an object, and of what an array or a choice
// holds. What has a name of its own is a link, and is not shown again.
func writeMembers(out *strings.Builder, n node) {
	if n.ref() != "" {
		return
	}
	properties := n.get("properties").members()
	if len(properties) > 0 {
		required := map[string]bool{}
		for _, name := range n.get("required").items() {
			required[name.text()] = true
		}
		out.WriteString("<dl>")
		for _, p := range properties {
			out.WriteString("<dt><code>" + html.EscapeString(p.name) + "</code>")
			if required[p.name] {
				out.WriteString(` <span class="needed">always</span>`)
			}
			out.WriteString(` <span class="type">` + string(typeOf(p.node)) + "</span></dt><dd>")
			if text := p.get("description").text(); text != "" {
				out.WriteString(string(prose(text)))
			}
			writeMembers(out, p.node)
			out.WriteString("</dd>")
		}
		out.WriteString("</dl>")
	}
	writeMembersOf(out, n.get("items"))
	for _, choice := range []string{"anyOf", "allOf"} {
		for _, option := range n.get(choice).items() {
			writeMembersOf(out, option)
		}
	}
}

// writeMembersOf is writeMembers for what is there and is not only a condition
// on the members of the whole.
func writeMembersOf(out *strings.Builder, n node) {
	if n.exists() && (n.get("type").exists() || n.get("anyOf").exists()) {
		writeMembers(out, n)
	}
}

// typeOf says in a line what a schema allows.
func typeOf(n node) template.HTML { return template.HTML(strings.Join(typeParts(n), ", ")) }

func typeParts(n node) []string {
	if ref := n.ref(); ref != "" {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		return []string{`<a href="#` + html.EscapeString(anchor("schema", name)) + `">` + html.EscapeString(name) + `</a>`}
	}
	if c := n.get("const"); c.exists() {
		return []string{literal(c)}
	}
	if values := n.get("enum").items(); len(values) > 0 {
		var all []string
		for _, v := range values {
			all = append(all, literal(v))
		}
		return withDefault([]string{strings.Join(all, " or ")}, n)
	}
	for _, choice := range []string{"anyOf", "oneOf"} {
		var all []string
		for _, option := range n.get(choice).items() {
			if parts := typeParts(option); len(parts) > 0 {
				all = append(all, strings.Join(parts, ", "))
			}
		}
		if len(all) > 0 && !n.get("properties").exists() {
			return withDefault([]string{strings.Join(all, " or ")}, n)
		}
	}
	return withDefault(simpleParts(n), n)
}

func simpleParts(n node) []string {
	var parts []string
	kinds := n.get("type").text()
	if kinds == "" {
		var all []string
		for _, k := range n.get("type").items() {
			all = append(all, k.text())
		}
		kinds = strings.Join(all, " or ")
	}
	switch {
	case kinds == "" && n.get("required").exists():
		return nil // a condition, not a type
	case kinds == "":
		parts = append(parts, "anything")
	case kinds == "array":
		element := n.get("items")
		if pair := element.get("prefixItems").items(); len(pair) == 2 {
			parts = append(parts, "array of pairs of "+string(typeOf(pair[0]))+" and "+string(typeOf(pair[1])))
		} else {
			parts = append(parts, "array of "+string(typeOf(element)))
		}
	default:
		parts = append(parts, html.EscapeString(kinds))
	}
	if media := n.get("contentMediaType").text(); media != "" {
		parts = append(parts, "binary")
	}
	if format := n.get("format").text(); format != "" && format != "int64" {
		parts = append(parts, html.EscapeString(format))
	}
	for _, r := range []struct{ low, high, unit string }{
		{"minimum", "maximum", ""}, {"minLength", "maxLength", " characters"}, {"minItems", "maxItems", " elements"},
	} {
		low, high := n.get(r.low).text(), n.get(r.high).text()
		switch {
		case low != "" && high != "" && low == high:
			parts = append(parts, html.EscapeString(low+r.unit))
		case low != "" && high != "":
			parts = append(parts, html.EscapeString(low+" to "+high+r.unit))
		case low != "":
			parts = append(parts, html.EscapeString("at least "+low+r.unit))
		case high != "":
			parts = append(parts, html.EscapeString("at most "+high+r.unit))
		}
	}
	if pattern := n.get("pattern").text(); pattern != "" {
		parts = append(parts, "<code>"+html.EscapeString(pattern)+"</code>")
	}
	var not []string
	for _, v := range n.get("not", "enum").items() {
		not = append(not, literal(v))
	}
	if len(not) > 0 {
		parts = append(parts, "not "+strings.Join(not, " or "))
	}
	return parts
}

func withDefault(parts []string, n node) []string {
	if d := n.get("default"); d.exists() {
		parts = append(parts, literal(d)+" by default")
	}
	return parts
}

func literal(n node) string { return "<code>" + html.EscapeString(n.text()) + "</code>" }
