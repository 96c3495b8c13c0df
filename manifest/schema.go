package manifest

import (
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

//go:generate go run ./internal/crdgen

//go:embed schema/*.json.gz
var schemaFiles embed.FS

// schema is that of one version of a CRD, made ready for use. It holds some
// megabytes once rules were compiled, so it lives for one load only.
type schema struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *ruleNode
}

// schemaFile is one file of the schema folder, as internal/crdgen writes it.
type schemaFile struct {
	Versions map[string]int                    `json:"versions"`
	Schemas  []apiextensionsv1.JSONSchemaProps `json:"schemas"`
}

// readSchemaFile reads the file of a kind. The files are part of the program, so
// whatever is wrong with them is a fault of the program.
func readSchemaFile(kind string) *schemaFile {
	f, err := schemaFiles.Open("schema/" + strings.ToLower(kind) + ".json.gz")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	var file schemaFile
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		panic(fmt.Sprintf("read schema of %s: %v", kind, err))
	}
	return &file
}

// newSchema makes ready what an API server makes of a CRD.
func newSchema(props *apiextensionsv1.JSONSchemaProps) *schema {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
		panic(fmt.Sprintf("convert schema: %v", err))
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		panic(fmt.Sprintf("read structural schema: %v", err))
	}
	structural = structural.DeepCopy() // it shares its defaults with internal
	if err := defaulting.PruneDefaults(structural); err != nil {
		panic(fmt.Sprintf("prune defaults of schema: %v", err))
	}
	validator, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		panic(fmt.Sprintf("compile schema: %v", err))
	}
	return &schema{structural: structural, validator: validator, rules: newRuleTree(structural)}
}

// unknown returns the paths of the fields that the schema does not have.
func (s *schema) unknown(obj map[string]any) []string {
	return pruning.PruneWithOptions(obj, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// complete sets the schema's defaults.
func (s *schema) complete(obj map[string]any) {
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, s.structural)
	defaulting.Default(obj, s.structural)
}

// check returns what an API server would refuse. As there, the rules are only
// asked about an object whose fields are all there and have their types.
func (s *schema) check(obj map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, obj, s.validator)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, obj)...)
	if blocksRules(errs) {
		return errs
	}
	v := ruleVisit{budget: celconfig.RuntimeCELCostBudget}
	v.visit(s.rules, nil, obj)
	return append(errs, v.errs...)
}

// blocksRules tells whether rules could stumble over the object.
func blocksRules(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// fields returns the names that the schema has at a path such as "spec.rules[0]".
func (s *schema) fields(path string) []string {
	at := s.structural
	for _, name := range splitPath(path) {
		switch {
		case name == "[]" && at.Items != nil:
			at = at.Items
		case at.AdditionalProperties != nil && at.AdditionalProperties.Structural != nil:
			at = at.AdditionalProperties.Structural
		default:
			next, ok := at.Properties[name]
			if !ok {
				return nil
			}
			at = &next
		}
	}
	names := make([]string, 0, len(at.Properties))
	for name := range at.Properties {
		names = append(names, name)
	}
	return names
}
