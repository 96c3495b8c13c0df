package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds what the aliases of one document may grow to, so that a few
// lines that name each other do not fill the memory.
const maxNodes = 1_000_000

// maxDepth bounds the nesting of one document; no kind comes near it.
const maxDepth = 200

// parse reads one YAML document, which may be JSON. A nil node is an empty one.
func parse(text []byte) (*yaml.Node, *lineFault) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(text) {
		// JSON is YAML but for the tabs between its tokens. Inside of its strings
		// there can be none.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	var root yaml.Node
	err := yaml.Load(text, &root, yaml.WithUniqueKeys(false))
	switch {
	case err != nil && isBlank(text):
		return nil, nil
	case err != nil:
		return nil, syntaxFault(text, err)
	case root.Kind == yaml.DocumentNode && len(root.Content) > 0:
		return root.Content[0], nil
	case root.Kind == 0 || root.Kind == yaml.DocumentNode:
		return nil, nil
	}
	return &root, nil
}

// isBlank tells whether a text has nothing but comments, directives and document
// marks.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("---"))
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." {
			return false
		}
	}
	return true
}

// lineFault is a mistake at a line of a document, counted from 1; 0 is unknown.
type lineFault struct {
	line    int
	message string
}

// syntaxFault says where a text stops being YAML.
func syntaxFault(text []byte, err error) *lineFault {
	fault := &lineFault{line: 1, message: "invalid YAML: " + err.Error()}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		fault.message = "invalid YAML: " + e.Message
		if e.ContextMsg != "" {
			fault.message += " " + e.ContextMsg
		}
		lines := bytes.Count(bytes.TrimRight(text, "\n"), []byte("\n")) + 1
		fault.line = min(max(e.Mark.Line, 1), lines) // the end counts as the last line
	}
	if line := tabIndented(text, fault.line); line > 0 {
		return &lineFault{line, "invalid YAML: a tab in the indentation, where only spaces may stand"}
	}
	return fault
}

// tabIndented returns the line of a tab in an indentation at or just before a
// line where the parser gave up; 0 if there is none.
func tabIndented(text []byte, failed int) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if n > failed {
			return 0
		}
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if n >= failed-1 && bytes.IndexByte(indent, '\t') >= 0 {
			return n
		}
	}
	return 0
}

// plainStyle is that of a scalar without quotes and without a tag.
const plainStyle yaml.Style = 0

// decoding turns YAML nodes into the values that JSON would give, with int64 for
// whole numbers, and notes what JSON could not say.
type decoding struct {
	faults []nodeFault
	nodes  int
	open   []*yaml.Node // those with an anchor that are being read
}

// nodeFault is a mistake at a node.
type nodeFault struct {
	field, message string
	line           int
}

func (d *decoding) fault(n *yaml.Node, path, message string) {
	d.faults = append(d.faults, nodeFault{path, message, n.Line})
}

// value returns the value of a node that stands at path.
func (d *decoding) value(n *yaml.Node, path string, depth int) any {
	d.nodes++
	if d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 {
			d.fault(n, path, "too large or too deeply nested")
			d.nodes = maxNodes + 1
		}
		return nil
	}
	if n.Anchor != "" {
		d.open = append(d.open, n)
		defer func() { d.open = d.open[:len(d.open)-1] }()
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		d.mapping(m, n, path, depth)
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, element := range n.Content {
			list[i] = d.value(element, path+"["+strconv.Itoa(i)+"]", depth+1)
		}
		return list
	case yaml.AliasNode:
		return d.alias(n, path, depth)
	case yaml.ScalarNode:
		return d.scalar(n, path)
	}
	return nil
}

func (d *decoding) alias(n *yaml.Node, path string, depth int) any {
	if slices.Contains(d.open, n.Alias) {
		d.fault(n, path, "alias *"+n.Value+" contains itself")
		return nil
	}
	return d.value(n.Alias, path, depth+1)
}

// mapping fills m with the fields of a node.
func (d *decoding) mapping(m map[string]any, n *yaml.Node, path string, depth int) {
	own := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			d.merge(m, value, path, depth)
			continue
		}
		name, ok := d.key(key, path)
		if !ok {
			continue
		}
		at := joinPath(path, name)
		if own[name] {
			if path == "" && (name == "apiVersion" || name == "kind") {
				d.fault(key, at, "a second object begins here: put --- in front of it")
				return // the rest would be faults of the same mistake
			}
			d.fault(key, at, "duplicate field")
			continue
		}
		own[name] = true
		m[name] = d.value(value, at, depth+1)
	}
}

// key returns a mapping's key as JSON has it: a string.
func (d *decoding) key(key *yaml.Node, path string) (string, bool) {
	for key.Kind == yaml.AliasNode {
		key = key.Alias
	}
	if key.Kind != yaml.ScalarNode {
		d.fault(key, path, "a key must be a plain value")
		return "", false
	}
	return key.Value, true
}

// merge adds what "<<" names to m; the mapping's own fields win.
func (d *decoding) merge(m map[string]any, n *yaml.Node, path string, depth int) {
	sources := []any{d.value(n, path, depth+1)}
	if list, ok := sources[0].([]any); ok {
		sources = list
	}
	for _, source := range sources {
		fields, ok := source.(map[string]any)
		if !ok {
			d.fault(n, path, "<< takes a mapping or a list of mappings")
			return
		}
		for name, value := range fields {
			if _, own := m[name]; !own {
				m[name] = value
			}
		}
	}
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && (key.Tag == "" || key.Tag == "!" || key.ShortTag() == "!!merge")
}

// scalar reads one value. Plain yes, no, on and off are booleans: kubectl reads
// YAML 1.1, and what it would not send to an API server is not taken here.
func (d *decoding) scalar(n *yaml.Node, path string) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true") || isOldTrue(n.Value)
	case "!!int":
		return d.integer(n, path)
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.fault(n, path, "number "+n.Value+" has no JSON form")
			return nil
		}
		return f
	case "!!binary":
		text, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			d.fault(n, path, "!!binary: "+err.Error())
		}
		return string(text)
	}
	if n.Style == plainStyle {
		switch {
		case isOldTrue(n.Value):
			return true
		case isOldFalse(n.Value):
			return false
		}
	}
	return n.Value
}

func (d *decoding) integer(n *yaml.Node, path string) any {
	var i int64
	if err := n.Decode(&i); err == nil {
		return i
	}
	var f float64
	if err := n.Decode(&f); err != nil {
		d.fault(n, path, fmt.Sprintf("number %s cannot be read", n.Value))
		return nil
	}
	return f
}

func isOldTrue(s string) bool {
	switch s {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true
	}
	return false
}

func isOldFalse(s string) bool {
	switch s {
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return true
	}
	return false
}

// joinPath adds a field's name to a path. A name that is no identifier, such as
// that of an annotation, stands in brackets, as an API server writes it.
func joinPath(path, name string) string {
	if strings.ContainsAny(name, "./[] ") {
		return path + "[" + name + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
