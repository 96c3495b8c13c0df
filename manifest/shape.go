package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkShape compares a decoded YAML value with the Go type that it is to become
// and returns the fields that the type does not have and the values that it
// cannot hold. For kinds without a schema it stands for an API server's strict
// decoding, which stops at the first wrong value and does not say where it is.
func checkShape(value any, t reflect.Type, path *field.Path) []fieldFault {
	var c shapeCheck
	c.value(value, t, path)
	return c.faults
}

// fieldFault is one mistake before its line is known.
type fieldFault struct{ field, message string }

type shapeCheck struct{ faults []fieldFault }

func (c *shapeCheck) value(v any, t reflect.Type, path *field.Path) {
	if v == nil {
		return // null leaves a field as it is
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		c.opaque(v, t, path)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		c.value(v, t.Elem(), path)
	case reflect.Struct:
		if m, ok := c.object(v, path); ok {
			c.members(m, t, path)
		}
	case reflect.Map:
		if m, ok := c.object(v, path); ok {
			for name, element := range m {
				c.value(element, t.Elem(), path.Key(name))
			}
		}
	case reflect.Slice:
		c.list(v, t, path)
	default:
		c.scalar(v, t, path)
	}
}

func (c *shapeCheck) object(v any, path *field.Path) (map[string]any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		c.wrongType(v, "object", path)
	}
	return m, ok
}

func (c *shapeCheck) members(m map[string]any, t reflect.Type, path *field.Path) {
	fields := jsonFields(t)
	for name, element := range m {
		if ft, ok := fields[name]; ok {
			c.value(element, ft, path.Child(name))
			continue
		}
		names := make([]string, 0, len(fields))
		for name := range fields {
			names = append(names, name)
		}
		c.faults = append(c.faults, fieldFault{path.Child(name).String(), unknownField(name, names)})
	}
}

func (c *shapeCheck) list(v any, t reflect.Type, path *field.Path) {
	if t.Elem().Kind() == reflect.Uint8 {
		c.base64(v, path)
		return
	}
	elements, ok := v.([]any)
	if !ok {
		c.wrongType(v, "array", path)
		return
	}
	for i, element := range elements {
		c.value(element, t.Elem(), path.Index(i))
	}
}

func (c *shapeCheck) scalar(v any, t reflect.Type, path *field.Path) {
	var want string
	var fits bool
	switch t.Kind() {
	case reflect.String:
		want = "string"
		_, fits = v.(string)
	case reflect.Bool:
		want = "boolean"
		_, fits = v.(bool)
	case reflect.Float32, reflect.Float64:
		want = "number"
		switch v.(type) {
		case float64, int64:
			fits = true
		}
	default:
		want = "integer"
		n, ok := v.(int64)
		if ok && reflect.Zero(t).CanInt() && reflect.Zero(t).OverflowInt(n) {
			c.faults = append(c.faults, fieldFault{path.String(), fmt.Sprintf("Invalid value: %d: does not fit into %s", n, t.Kind())})
			return
		}
		fits = ok
	}
	if !fits {
		c.wrongType(v, want, path)
	}
}

// opaque asks a type that reads its own JSON whether it can.
func (c *shapeCheck) opaque(v any, t reflect.Type, path *field.Path) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err != nil {
		c.faults = append(c.faults, fieldFault{path.String(), fmt.Sprintf("Invalid value: %s: %v", text, err)})
	}
}

// base64 checks what becomes bytes. It does not repeat the value, which may be a
// secret.
func (c *shapeCheck) base64(v any, path *field.Path) {
	text, ok := v.(string)
	if !ok {
		c.wrongType(v, "string", path)
	} else if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		c.faults = append(c.faults, fieldFault{path.String(), "Invalid value: " + err.Error()})
	}
}

// wrongType uses the words that a schema has for it.
func (c *shapeCheck) wrongType(v any, want string, path *field.Path) {
	name := path.String()
	err := field.TypeInvalid(path, typeName(v), fmt.Sprintf("%s in body must be of type %s: %q", name, want, typeName(v)))
	c.faults = append(c.faults, fieldFault{name, err.ErrorBody()})
}

func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	default:
		return "number"
	}
}

// jsonFields returns the JSON names of a struct's fields, inlined ones included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && f.Anonymous:
			for name, ft := range jsonFields(f.Type) {
				fields[name] = ft
			}
		case name != "":
			fields[name] = f.Type
		}
	}
	return fields
}

// unknownField words the fault of a field that is not among names.
func unknownField(name string, names []string) string {
	const message = "unknown field"
	if like := nearest(name, names); like != "" {
		return message + " (" + didYouMean(like) + ")"
	}
	return message
}

// splitPath splits "spec.rules[0].matches" into names, with "[]" for an index.
func splitPath(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name != "" {
			names = append(names, name)
		}
		for indexed {
			inner, after, _ := strings.Cut(rest, "]")
			if _, err := strconv.Atoi(inner); err == nil {
				inner = "[]"
			}
			names = append(names, inner)
			_, rest, indexed = strings.Cut(after, "[")
		}
	}
	return names
}
