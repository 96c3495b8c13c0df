package manifest

import (
	"bytes"
	"iter"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/lintel-dev/lintel/gateway"
)

// document is one YAML document of a file, read and checked. It is immutable, but
// for the object of an item.
type document struct {
	text  []byte
	line  int // that of its file where text begins, from 1
	items []*item
	// problems are those of no item; their lines count from the document's first.
	problems []Problem
	// broken is set when the text could not be read as YAML: it may hold objects
	// that nobody can see now.
	broken bool
}

// item is one object of a document. A document has several if it is a List.
type item struct {
	ref gateway.ObjectRef
	// kind is nil if the object is none of ours or too broken to tell.
	kind *kind
	// object is nil if the object was refused. Only the goroutine of the Source
	// that the catalog belongs to uses it.
	object   object
	problems []Problem // their lines count from the document's first
	line     int       // counts from the document's first
	index    int       // place in a List
}

// moved returns the document as it stands at another line.
func (d *document) moved(text []byte, line int) *document {
	moved := *d
	moved.text, moved.line = text, line
	return &moved
}

// root returns the node of an item, for a text that was read before.
func (d *document) root(it *item) *yaml.Node {
	root, fault := parse(d.text)
	if fault != nil || root == nil {
		return nil
	}
	objects := slices.Collect(objectNodes(root))
	if it.index >= len(objects) {
		return nil
	}
	return objects[it.index]
}

// objectNodes walks over the objects of a document: itself, or what a List holds.
func objectNodes(root *yaml.Node) iter.Seq[*yaml.Node] {
	return func(yield func(*yaml.Node) bool) {
		items := child(root, "items")
		if items == nil || items.Kind != yaml.SequenceNode || !isList(text(root, "kind")) {
			yield(root)
			return
		}
		for _, n := range items.Content {
			if !yield(n) {
				return
			}
		}
	}
}

// isList tells whether a kind is a list as kubectl get prints it.
func isList(kind string) bool {
	return kind == "List" || len(kind) > len("List") && kind[len(kind)-len("List"):] == "List"
}

// part is a piece of a file that is one document.
type part struct {
	text []byte
	line int
}

// split cuts a file at the lines that begin a document: "---" and then nothing or
// a blank. Cutting before parsing means that a mistake in one document does not
// hide the others, and that a document whose bytes are the same is not read again.
func split(content []byte) []part {
	var parts []part
	begin, beginLine, line, at := 0, 1, 1, 0
	cut := func(end int) {
		if text := content[begin:end]; !isBlank(text) {
			parts = append(parts, part{text, beginLine})
		}
	}
	for l := range bytes.Lines(content) {
		if beginsDocument(l) {
			cut(at)
			begin, beginLine = at, line
		}
		at += len(l)
		line++
	}
	cut(len(content))
	return parts
}

func beginsDocument(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}
