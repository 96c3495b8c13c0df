package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// locate returns the line of a field of the object at root, or of its nearest
// ancestor that is written. A path is taken as the field package and schemas
// write it: "spec.rules[0].matches", "metadata.labels[a.b/c]" or
// "metadata.labels.a.b/c".
func locate(root *yaml.Node, path string) int {
	line := root.Line
	for n := root; n != nil && path != ""; {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		at, next, rest := step(n, path)
		if next == nil {
			break
		}
		line = at.Line
		n, path = next, rest
	}
	return line
}

// step goes from n one name along path: to the node that bears the name's line,
// the node of its value, and what is left of the path.
func step(n *yaml.Node, path string) (at, next *yaml.Node, rest string) {
	path = strings.TrimPrefix(path, ".")
	switch n.Kind {
	case yaml.SequenceNode:
		index, rest := cutIndex(path)
		if index < 0 || index >= len(n.Content) {
			return nil, nil, ""
		}
		return n.Content[index], n.Content[index], rest
	case yaml.MappingNode:
		longest := -1
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if after, ok := cutName(path, name); ok && len(name) > longest {
				longest = len(name)
				at, next, rest = n.Content[i], n.Content[i+1], after
			}
		}
	}
	return at, next, rest
}

// cutIndex splits "[3].name" or "3.name"; the index is -1 if there is none.
func cutIndex(path string) (index int, rest string) {
	var text string
	if inner, ok := strings.CutPrefix(path, "["); ok {
		text, rest, _ = strings.Cut(inner, "]")
	} else {
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		text, rest = path[:end], path[end:]
	}
	index, err := strconv.Atoi(text)
	if err != nil {
		return -1, ""
	}
	return index, rest
}

// cutName takes a name off the front of a path if it stands there as a whole.
func cutName(path, name string) (rest string, ok bool) {
	if rest, ok := strings.CutPrefix(path, "["+name+"]"); ok {
		return rest, true
	}
	rest, ok = strings.CutPrefix(path, name)
	return rest, ok && name != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// child returns the value of a field of a mapping, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns the text of a scalar field of a mapping, or "".
func text(n *yaml.Node, name string) string {
	value := child(n, name)
	for value != nil && value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	if value == nil || value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" {
		return ""
	}
	return value.Value
}
