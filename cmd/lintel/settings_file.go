package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
)

// fileKey returns the key of a setting in the configuration file: http-port →
// httpPort. Names of protocols are written like any word, as Kubernetes does in
// httpGet.
func fileKey(name string) string {
	words := strings.Split(name, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// readFile returns the values of the configuration file by setting. The error
// joins every mistake in it, each with its line.
func (r *settingsReader) readFile(path string) (map[string]given, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration file: %w", err)
	}
	var document, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read configuration file %s: %w", path, err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: a configuration file is one document; remove what follows ---", path, max(second.Line, 1))
	}
	if len(document.Content) == 0 {
		return nil, nil // an empty file, or comments alone
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: must be settings, each as key: value", path, root.Line)
	}
	names := map[string]string{}
	for _, s := range r.table {
		names[fileKey(s.name)] = s.name
	}
	values := map[string]given{}
	lines := map[string]int{}
	var mistakes []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		place := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		name, known := names[key.Value]
		line, twice := lines[key.Value]
		lines[key.Value] = key.Line
		text, err := r.nodeText(name, node)
		switch {
		case twice:
			mistakes = append(mistakes, fmt.Errorf("%s: given before, in line %d", place, line))
		case !known:
			mistakes = append(mistakes, fmt.Errorf("%s: unknown key%s", place, suggest(key.Value, names)))
		case err != nil:
			mistakes = append(mistakes, fmt.Errorf("%s: %w", place, err))
		default:
			values[name] = given{text: text, place: place}
		}
	}
	return values, errors.Join(mistakes...)
}

// nodeText returns the text of a setting's value.
func (r *settingsReader) nodeText(name string, node *yaml.Node) (string, error) {
	for _, s := range r.table {
		if v, ok := s.value.(interface {
			NodeText(*yaml.Node) (string, error)
		}); ok && s.name == name {
			return v.NodeText(node)
		}
	}
	return nodeText(node)
}

// nodeText returns a scalar, or a list of scalars with commas between, as it was
// written.
func nodeText(node *yaml.Node) (string, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return "", errors.New("has no value: remove the key to get the default")
		}
		return node.Value, nil
	case yaml.SequenceNode:
		var texts []string
		for _, element := range node.Content {
			if element.Kind != yaml.ScalarNode {
				return "", errors.New("must be a list of plain values")
			}
			texts = append(texts, element.Value)
		}
		return strings.Join(texts, ","), nil
	default:
		return "", errors.New("must be a value or a list")
	}
}
