package deploy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const referencePath = "../docs/tunnel-reference.md"

// TestReferencePageIsCurrent compares the page about the fields of a Tunnel with its CRD.
func TestReferencePageIsCurrent(t *testing.T) {
	text, err := os.ReadFile("chart/files/tunnels.lintel.dev.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		t.Fatal(err)
	}
	want := referencePage(&crd)
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil { //nolint:gosec // A public file.
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(referencePath); err != nil || string(got) != want {
		t.Errorf("%s is not current: run make generate", referencePath)
	}
}

func referencePage(crd *apiextensionsv1.CustomResourceDefinition) string {
	var page strings.Builder
	version := &crd.Spec.Versions[0]
	root := version.Schema.OpenAPIV3Schema
	fmt.Fprintf(&page, "# %s: every field\n\nMade from its CRD by `make generate`. [tunnel.md](tunnel.md) says how to use it.\n\n`apiVersion: %s/%s`, `kind: %s`, in a namespace. %s\n",
		crd.Spec.Names.Kind, crd.Spec.Group, version.Name, crd.Spec.Names.Kind, sentence(root.Description))
	for _, part := range []string{"spec", "status"} {
		schema := root.Properties[part]
		fmt.Fprintf(&page, "\n## %s\n\n%s| field | | what it says |\n|---|---|---|\n", part, paragraph(schema.Description))
		writeFields(&page, "", &schema)
	}
	return page.String()
}

func sentence(text string) string { return strings.TrimSpace(text) }

func paragraph(text string) string {
	if text == "" {
		return ""
	}
	return sentence(text) + "\n\n"
}

// writeFields writes a row for each field of an object, and for those below it.
func writeFields(page *strings.Builder, path string, schema *apiextensionsv1.JSONSchemaProps) {
	names := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := schema.Properties[name]
		full := path + name
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", full, fieldKind(&field, slices.Contains(schema.Required, name)), fieldText(&field))
		below := &field
		if field.Type == "array" {
			below, full = field.Items.Schema, full+"[]"
		}
		writeFields(page, full+".", below)
	}
}

// fieldKind is the type of a field, whether it has to be there, and what it is otherwise.
func fieldKind(field *apiextensionsv1.JSONSchemaProps, required bool) string {
	kind := field.Type
	if kind == "array" {
		kind = "list"
	}
	if required {
		kind += ", required"
	}
	if field.Default != nil {
		kind += ", default `" + strings.Trim(string(field.Default.Raw), `"`) + "`"
	}
	return kind
}

func fieldText(field *apiextensionsv1.JSONSchemaProps) string {
	parts := []string{}
	if field.Description != "" {
		parts = append(parts, sentence(field.Description))
	}
	var values []string
	for _, v := range field.Enum {
		values = append(values, "`"+strings.Trim(string(v.Raw), `"`)+"`")
	}
	if len(values) > 0 {
		parts = append(parts, "One of "+strings.Join(values, ", ")+".")
	}
	for _, rule := range field.XValidations {
		parts = append(parts, "Rule: "+rule.Message+".")
	}
	return strings.Join(parts, " ")
}
