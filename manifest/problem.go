package manifest

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/lintel-dev/lintel/gateway"
)

// Problem is one mistake in a manifest, at the place where its writer finds it.
type Problem struct {
	// File is the path as it was reached from the path of the [Source]; "-" is
	// standard input, and "" where there is no file, as in [Validate].
	File string
	// Line counts from 1; 0 stands for the file as a whole.
	Line int
	// Object is zero where the text could not be read as an object.
	Object gateway.ObjectRef
	// Field is the path of the field, "spec.rules[0].matches"; "" for the object
	// as a whole.
	Field string
	// Message says what is wrong, in the words of an API server where it has any.
	Message string
}

// String returns the problem as one line:
//
//	routes.yaml:14: HTTPRoute default/shop: spec.rules[0].matchs: unknown field (did you mean "matches"?)
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Object.Kind != "" {
		b.WriteString(title(p.Object))
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// title names an object as people write it: "HTTPRoute default/shop".
func title(ref gateway.ObjectRef) string {
	name := ref.Name
	if name == "" {
		name = "(no name)"
	}
	if ref.Namespace != "" {
		name = ref.Namespace + "/" + name
	}
	return ref.Kind + " " + name
}

// compareProblems orders by place, then by what is wrong.
func compareProblems(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Message, b.Message),
	)
}
