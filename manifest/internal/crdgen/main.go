// Command crdgen copies the schemas of the Gateway API's CRDs, experimental
// channel, out of the module that go.mod names, and of our own: one compressed JSON file a kind,
// without the descriptions. Run it from the folder of package manifest, which
// go generate does.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const (
	module = "sigs.k8s.io/gateway-api"
	group  = "gateway.networking.k8s.io"
	// crdPattern finds an admission policy too, which generate passes over.
	crdPattern = "config/crd/experimental/" + group + "_*s.yaml"
)

func main() {
	log.SetFlags(0)
	files, err := generate()
	if err != nil {
		log.Fatal(err)
	}
	for name, content := range files {
		if err := write(filepath.Join("schema", name), content); err != nil {
			log.Fatal(err)
		}
	}
}

// kind is the content of one generated file.
type kind struct {
	// Versions holds, by served version, the index of its schema in Schemas.
	Versions map[string]int                    `json:"versions"`
	Schemas  []apiextensionsv1.JSONSchemaProps `json:"schemas"`
}

// generate returns the JSON of every kind by file name.
func generate() (map[string][]byte, error) {
	dir, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("find module %s: %w", module, err)
	}
	root := strings.TrimSpace(string(dir))
	paths, err := filepath.Glob(filepath.Join(root, crdPattern))
	if err != nil {
		return nil, err
	}
	own, err := ownCRDs()
	if err != nil {
		return nil, err
	}
	paths = append(paths, own...)
	files := make(map[string][]byte)
	for _, path := range paths {
		var crd apiextensionsv1.CustomResourceDefinition
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		content, err := convert(&crd)
		if err != nil {
			return nil, fmt.Errorf("convert %s: %w", path, err)
		}
		files[strings.ToLower(crd.Spec.Names.Kind)+".json.gz"] = content
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no CRD in %s%s", dir, crdPattern)
	}
	return files, nil
}

// ownCRDs are the files of ours, which the chart has.
func ownCRDs() ([]string, error) {
	file, err := exec.CommandContext(context.Background(), "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("find main module: %w", err)
	}
	return filepath.Glob(filepath.Join(filepath.Dir(strings.TrimSpace(string(file))), "deploy/chart/files/*.lintel.dev.yaml"))
}

// convert keeps the schemas of the served versions; equal ones are kept once.
func convert(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	out := kind{Versions: make(map[string]int)}
	var texts [][]byte
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		schema := *version.Schema.OpenAPIV3Schema
		schema.Properties["status"] = openObject()
		strip(&schema)
		text, err := json.Marshal(schema)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(texts, func(other []byte) bool { return bytes.Equal(text, other) })
		if i < 0 {
			i = len(texts)
			texts = append(texts, text)
			out.Schemas = append(out.Schemas, schema)
		}
		out.Versions[version.Name] = i
	}
	return json.Marshal(out)
}

// openObject stands for the status, which is not for people to write: an API
// server drops it from what they send, so its schema would never be used.
func openObject() apiextensionsv1.JSONSchemaProps {
	open := true
	return apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &open}
}

// strip removes the descriptions, four fifths of the text.
func strip(s *apiextensionsv1.JSONSchemaProps) {
	s.Description = ""
	for name, property := range s.Properties {
		strip(&property)
		s.Properties[name] = property
	}
	if s.Items != nil && s.Items.Schema != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		strip(s.AdditionalProperties.Schema)
	}
	if s.Not != nil {
		strip(s.Not)
	}
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			if len(list[i].XValidations) > 0 {
				panic("a rule inside of allOf, anyOf or oneOf, which package manifest does not look for")
			}
			strip(&list[i])
		}
	}
}

// write compresses content into a file.
func write(path string, content []byte) error {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, compressed.Bytes(), 0o644)
}
