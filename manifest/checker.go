package manifest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lintel-dev/lintel/gateway"
)

// checker reads documents. It keeps the schemas that it needed, so one is made for
// a load and dropped after it. It is for one goroutine.
type checker struct {
	kinds   kinds
	files   map[string]*schemaFile
	schemas map[schemaKey]*schema
}

type schemaKey struct {
	kind  string
	index int // in the kind's file
}

func newChecker() *checker {
	return &checker{kinds: newKinds(), files: make(map[string]*schemaFile), schemas: make(map[schemaKey]*schema)}
}

// read reads a document and checks its objects.
func (c *checker) read(p part) *document {
	doc := &document{text: p.text, line: p.line}
	root, fault := parse(p.text)
	if fault != nil {
		doc.broken = true
		doc.problems = []Problem{{Line: fault.line, Message: fault.message}}
		return doc
	}
	if root == nil {
		return doc
	}
	index := 0
	for n := range objectNodes(root) {
		it := c.item(n)
		it.index = index
		doc.items = append(doc.items, it)
		index++
	}
	return doc
}

// item reads and checks one object.
func (c *checker) item(n *yaml.Node) *item {
	it := &item{line: n.Line, ref: refOf(n)}
	r := &reading{node: n, item: it}
	if n.Kind != yaml.MappingNode {
		r.refuse("", "not an object: a manifest has apiVersion, kind and metadata")
		return it
	}
	version, ok := c.identify(r)
	if !ok {
		return it
	}
	obj, ok := r.decode()
	if !ok {
		return it
	}
	if it.kind.hasSchema() {
		c.readBySchema(r, obj, version)
	} else {
		readByType(r, obj)
	}
	slices.SortStableFunc(it.problems, compareProblems)
	if len(it.problems) > 0 {
		it.object = nil
	}
	return it
}

// refOf names an object as far as it can be told.
func refOf(n *yaml.Node) gateway.ObjectRef {
	metadata := child(n, "metadata")
	return gateway.ObjectRef{Kind: text(n, "kind"), Namespace: text(metadata, "namespace"), Name: text(metadata, "name")}
}

// identify finds the kind of an object and its version. It is not ok if the object
// is not to be read any further.
func (c *checker) identify(r *reading) (version string, ok bool) {
	apiVersion, name := text(r.node, "apiVersion"), text(r.node, "kind")
	switch {
	case apiVersion == "":
		r.refuse("apiVersion", "Required value")
	case name == "":
		r.refuse("kind", "Required value")
	}
	if len(r.item.problems) > 0 {
		return "", false
	}
	group, version, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		group, version = "", apiVersion
	}
	noMatch := `no matches for kind "` + name + `" in version "` + apiVersion + `"`
	k, refusal := c.kinds.find(group, name)
	switch {
	case k != nil:
	case refusal != "":
		r.refuse(c.faultyHeader(group), noMatch+" ("+refusal+")")
		return "", false
	default:
		return "", false
	}
	r.item.kind = k
	if k.cluster {
		r.item.ref.Namespace = ""
	} else if r.item.ref.Namespace == "" {
		r.item.ref.Namespace = metav1.NamespaceDefault
	}
	if versions := c.versions(k); !slices.Contains(versions, version) {
		r.refuse("apiVersion", noMatch+" (served: "+strings.Join(versions, ", ")+")")
		return "", false
	}
	return version, true
}

// faultyHeader tells which field of an object's header is wrong when its kind was
// not found.
func (c *checker) faultyHeader(group string) string {
	if len(c.kinds.names(group)) > 0 {
		return "kind"
	}
	return "apiVersion"
}

// versions returns the versions in which a kind is read.
func (c *checker) versions(k *kind) []string {
	if !k.hasSchema() {
		return k.versions
	}
	return slices.Sorted(maps.Keys(c.file(k).Versions))
}

func (c *checker) file(k *kind) *schemaFile {
	file := c.files[k.name]
	if file == nil {
		file = readSchemaFile(k.name)
		c.files[k.name] = file
	}
	return file
}

// schema returns that of a version that the kind has.
func (c *checker) schema(k *kind, version string) *schema {
	file := c.file(k)
	key := schemaKey{k.name, file.Versions[version]}
	s := c.schemas[key]
	if s == nil {
		s = newSchema(&file.Schemas[key.index])
		c.schemas[key] = s
	}
	return s
}

// readBySchema does what an API server does to an object of a CRD.
func (c *checker) readBySchema(r *reading, obj map[string]any, version string) {
	delete(obj, "status")
	s := c.schema(r.item.kind, version)
	r.checkMetadataShape(obj)
	for _, path := range s.unknown(obj) {
		parent, name := splitLast(path)
		r.refuse(path, unknownField(name, s.fields(parent)))
	}
	if len(r.item.problems) > 0 {
		return // as there, what is unknown goes first: it explains what is missing
	}
	s.complete(obj)
	r.refuseAll(s.check(obj))
	if o, ok := r.object(obj); ok {
		r.checkMetadata(o, validation.NameIsDNSSubdomain)
	}
}

// readByType does as much for a kind of Kubernetes itself.
func readByType(r *reading, obj map[string]any) {
	k := r.item.kind
	if k.name != "Node" { // whose addresses stand in its status
		delete(obj, "status")
	}
	for _, f := range checkShape(obj, reflect.TypeOf(k.new()).Elem(), nil) {
		r.refuse(f.field, f.message)
	}
	if len(r.item.problems) > 0 {
		return
	}
	o, ok := r.object(obj)
	if !ok {
		return
	}
	if k.complete != nil {
		k.complete(o)
	}
	r.checkMetadata(o, nameRule(k.name))
	if k.check != nil {
		r.refuseAll(k.check(o))
	}
}

// nameRule returns the check of the names of a kind of Kubernetes itself.
func nameRule(kind string) validation.ValidateNameFunc {
	switch kind {
	case "Service":
		return validation.NameIsDNS1035Label
	case "Namespace":
		return validation.NameIsDNSLabel
	case "ClusterTrustBundle": // the name of a signer and colons may precede it
		return func(name string, prefix bool) []string {
			return validation.NameIsDNSSubdomain(name[strings.LastIndexByte(name, ':')+1:], prefix)
		}
	}
	return validation.NameIsDNSSubdomain
}

// reading is an object on its way from its node to its type.
type reading struct {
	node *yaml.Node
	item *item
}

// refuse notes a mistake in a field.
func (r *reading) refuse(path, message string) {
	r.refuseAt(locate(r.node, path), path, message)
}

func (r *reading) refuseAt(line int, path, message string) {
	p := Problem{Line: line, Object: r.item.ref, Field: path, Message: message}
	if !slices.Contains(r.item.problems, p) {
		r.item.problems = append(r.item.problems, p)
	}
}

func (r *reading) refuseAll(errs field.ErrorList) {
	for _, err := range errs {
		path := err.Field
		if path == "<nil>" {
			path = ""
		}
		r.refuse(path, err.ErrorBody())
	}
}

// decode returns the object's fields; it is not ok if YAML was used in a way that
// JSON does not know.
func (r *reading) decode() (map[string]any, bool) {
	var d decoding
	obj, ok := d.value(r.node, "", 0).(map[string]any)
	for _, f := range d.faults {
		r.refuseAt(f.line, f.field, f.message)
	}
	slices.SortStableFunc(r.item.problems, compareProblems)
	if !ok || len(d.faults) > 0 {
		return nil, false
	}
	r.rename(obj)
	return obj, true
}

// rename names the item anew now that aliases and merges are resolved.
func (r *reading) rename(obj map[string]any) {
	metadata, _ := obj["metadata"].(map[string]any)
	if name, ok := metadata["name"].(string); ok {
		r.item.ref.Name = name
	}
	if namespace, ok := metadata["namespace"].(string); ok && namespace != "" && !r.item.kind.cluster {
		r.item.ref.Namespace = namespace
	}
}

// object makes the Go object of the fields. What the types forbid was found
// before, so that a refusal here has no better place than the object.
func (r *reading) object(obj map[string]any) (object, bool) {
	o := r.item.kind.new()
	text, err := json.Marshal(obj)
	if err == nil {
		err = json.Unmarshal(text, o)
	}
	if err != nil {
		if len(r.item.problems) == 0 {
			r.refuse("", err.Error())
		}
		return nil, false
	}
	o.SetNamespace(r.item.ref.Namespace)
	r.item.object = o
	return o, true
}

func (r *reading) checkMetadataShape(obj map[string]any) {
	metadata, ok := obj["metadata"]
	if !ok {
		return
	}
	for _, f := range checkShape(metadata, reflect.TypeFor[metav1.ObjectMeta](), field.NewPath("metadata")) {
		r.refuse(f.field, f.message)
	}
}

func (r *reading) checkMetadata(o object, name validation.ValidateNameFunc) {
	if o.GetName() == "" { // nobody makes a name of generateName here
		r.refuseAll(field.ErrorList{field.Required(field.NewPath("metadata", "name"), "name is required")})
		return
	}
	r.refuseAll(validation.ValidateObjectMetaAccessor(o, !r.item.kind.cluster, name, field.NewPath("metadata")))
}

// splitLast splits "spec.rules[0].name" before its last name.
func splitLast(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
