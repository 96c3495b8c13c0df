package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// chartSchema is what the values of the Helm chart must be. What follows
// schemaDefinitions in it is made from the table of settings.
const (
	chartSchema       = "../../deploy/chart/values.schema.json"
	schemaDefinitions = "  \"definitions\": "
)

func TestChartSchemaIsCurrent(t *testing.T) {
	committed, err := os.ReadFile(chartSchema)
	if err != nil {
		t.Fatal(err)
	}
	head, _, found := strings.Cut(string(committed), schemaDefinitions)
	if !found {
		t.Fatalf("%s has no definitions", chartSchema)
	}
	want := head + schemaDefinitions + renderSettingsSchema(t) + "\n}\n"
	if *writePage {
		if err := os.WriteFile(chartSchema, []byte(want), 0o644); err != nil { //nolint:gosec // A public file.
			t.Fatal(err)
		}
		return
	}
	if string(committed) != want {
		t.Errorf("%s is not current: run make generate", chartSchema)
	}
}

// chartOwns are settings that the chart itself decides.
var chartOwns = map[string]string{
	"manifests":    "the API server is where objects come from",
	"kubeconfig":   "the Pod's service account is used",
	"adminAddress": "the Pod's probes and its Services name the port",
	"adminSocket":  "likewise",
	"shareSockets": "it is on where several Pods of a node have one network",

	"acmeStorage": "certificates are in Secrets",

	"leaseName":      "the chart holds the Lease, so that it goes with the release",
	"leaseNamespace": "that of the release",
}

// keyword is one key of a JSON schema; a list of them keeps its order.
type keyword struct {
	name  string
	value any
}

type schema []keyword

func (s schema) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, k := range s {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(k.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(k.value)
		if err != nil {
			return nil, err
		}
		out.Write(append(append(name, ':'), value...))
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// renderSettingsSchema returns the definitions of the chart's schema: every key of
// the configuration file that a chart may set.
func renderSettingsSchema(t *testing.T) string {
	var properties schema
	for _, s := range newSettingsReader().table {
		key := fileKey(s.name)
		if chartOwns[key] != "" {
			continue
		}
		described := schema{{"description", strings.ReplaceAll(s.usage, "`", "")}}
		properties = append(properties, keyword{key, append(described, valueSchema(s.value)...)})
	}
	settings := schema{{"type", "object"}, {"additionalProperties", false}, {"properties", properties}}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("  ", "  ")
	if err := encoder.Encode(schema{{"settings", settings}}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// valueSchema is no stricter than the program, and leaves to it what takes more than
// a pattern. In values `on` is a boolean, as in YAML 1.1.
func valueSchema(v settingValue) schema {
	switch v := v.(type) {
	case *value[bool]:
		return schema{{"enum", []any{true, false, "on", "off"}}}
	case *value[int]:
		s := schema{{"type", "integer"}, {"minimum", 0}}
		if v.Check("0") != nil {
			s[1].value = 1
		}
		if v.Check("65536") != nil {
			s = append(s, keyword{"maximum", 65535})
		}
		return s
	case *value[int64]:
		return schema{{"type", []string{"integer", "string"}}, {"minimum", 0}}
	case *value[time.Duration]:
		return schema{{"type", []string{"string", "integer"}}, {"pattern", `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`}, {"maximum", 0}}
	case *value[string]:
		if v.Check("off") == nil && v.Check("false") == nil && v.Check("true") != nil {
			return schema{{"type", []string{"string", "boolean"}}} // off is a choice
		}
		return schema{{"type", "string"}}
	case *value[credential]:
		return schema{{"type", "string"}}
	case *issuersValue:
		properties := schema{}
		for key := range reflect.TypeFor[acmeIssuer]().Fields() {
			name, _, _ := strings.Cut(key.Tag.Get("yaml"), ",")
			properties = append(properties, keyword{name, schema{{"type", map[reflect.Kind]string{
				reflect.String: "string", reflect.Struct: "object", reflect.Bool: "boolean",
			}[key.Type.Kind()]}}})
		}
		return schema{{"type", "array"}, {"items", schema{
			{"type", "object"}, {"additionalProperties", false}, {"required", []string{"name", "solver"}}, {"properties", properties},
		}}}
	case *poolsValue:
		names := schema{{"type", "array"}, {"items", schema{{"type", "string"}}}}
		pool := schema{{"type", "object"}, {"additionalProperties", false}, {"required", []string{"name", "cidrs"}}, {"properties", schema{
			{"name", schema{{"type", "string"}}}, {"cidrs", names}, {"gatewayClasses", names}, {"namespaces", names},
		}}}
		return schema{{"type", "array"}, {"items", schema{{"oneOf", []schema{{{"type", "string"}}, pool}}}}}
	default:
		return schema{{"type", "array"}, {"items", schema{{"type", "string"}}}}
	}
}
