package apidoc

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// node is a place in a document. One that is not there has none of anything.
type node struct {
	root *yaml.Node
	yaml *yaml.Node // nil if it is not there
}

// member is a named node of a mapping.
type member struct {
	name string
	node
}

func parse(text []byte) (node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return node{}, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return node{}, fmt.Errorf("read the OpenAPI document: it is no mapping")
	}
	return node{root: doc.Content[0], yaml: doc.Content[0]}, nil
}

func (n node) exists() bool { return n.yaml != nil }

// members returns those of a mapping, in their order.
func (n node) members() []member {
	if n.yaml == nil || n.yaml.Kind != yaml.MappingNode {
		return nil
	}
	var all []member
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		all = append(all, member{n.yaml.Content[i].Value, node{n.root, n.yaml.Content[i+1]}})
	}
	return all
}

// get follows names into mappings.
func (n node) get(names ...string) node {
	for _, name := range names {
		next := node{root: n.root}
		for _, m := range n.members() {
			if m.name == name {
				next = m.node
			}
		}
		n = next
	}
	return n
}

// items returns those of a sequence.
func (n node) items() []node {
	if n.yaml == nil || n.yaml.Kind != yaml.SequenceNode {
		return nil
	}
	var all []node
	for _, item := range n.yaml.Content {
		all = append(all, node{n.root, item})
	}
	return all
}

// text returns a scalar as it is written, "" if it is none.
func (n node) text() string {
	if n.yaml == nil || n.yaml.Kind != yaml.ScalarNode {
		return ""
	}
	return n.yaml.Value
}

func (n node) isTrue() bool { return n.text() == "true" }

// isString tells a string from a number that looks the same.
func (n node) isString() bool { return n.yaml != nil && n.yaml.Tag == "!!str" }

// ref returns what a $ref names, "" if n is none.
func (n node) ref() string { return n.get("$ref").text() }

// resolve follows a $ref into the same document.
func (n node) resolve() node {
	ref := n.ref()
	if ref == "" {
		return n
	}
	at := node{root: n.root, yaml: n.root}
	for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return at
}
