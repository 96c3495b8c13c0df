package manifest

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// examples returns the Gateway API's own manifests below a folder of its module.
func examples(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), folder)
	files := make(map[string][]byte)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isManifest(path) {
			files[strings.TrimPrefix(path, root+"/")], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in %s: %v", root, err)
	}
	return files
}

// The Gateway API says which of its manifests are good and which are not.
func TestOfficialExamples(t *testing.T) {
	c := newChecker()
	for name, text := range examples(t, "examples/standard") {
		for _, p := range c.readFile(name, text, nil).problems() {
			t.Error(p)
		}
	}
	for name, text := range examples(t, "hack/invalid-examples") {
		if len(c.readFile(name, text, nil).problems()) == 0 {
			t.Errorf("%s was not refused", name)
		}
	}
}

// Rules compiled place by place say what the whole schema's say at once.
func TestRulesAgreeWithWholeSchemas(t *testing.T) {
	c := newChecker()
	whole := make(map[*schema]*cel.Validator)
	broken := 0
	for name, text := range examples(t, "hack/invalid-examples") {
		for _, p := range split(text) {
			s, obj := decodeForSchema(c, p)
			if s == nil {
				continue
			}
			if whole[s] == nil {
				whole[s] = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
			}
			errs, _ := whole[s].Validate(context.Background(), nil, s.structural, obj, nil, celconfig.RuntimeCELCostBudget)
			var want, got []string
			for _, err := range errs {
				want = append(want, err.Error())
			}
			v := ruleVisit{budget: celconfig.RuntimeCELCostBudget}
			v.visit(s.rules, nil, obj)
			for _, err := range v.errs {
				got = append(got, err.Error())
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-whole +by place):\n%s", name, diff)
			}
			broken += len(want)
		}
	}
	if broken == 0 {
		t.Error("no rule was broken by any of the invalid examples")
	}
	t.Logf("%d broken rules were compared", broken)
}

// decodeForSchema returns the object of a document with its defaults, and its
// schema; nil if the rules would not be asked about it.
func decodeForSchema(c *checker, p part) (*schema, map[string]any) {
	root, fault := parse(p.text)
	if fault != nil || root == nil {
		return nil, nil
	}
	r := &reading{node: root, item: &item{ref: refOf(root)}}
	version, ok := c.identify(r)
	if !ok || !r.item.kind.hasSchema() {
		return nil, nil
	}
	obj, ok := r.decode()
	if !ok {
		return nil, nil
	}
	s := c.schema(r.item.kind, version)
	s.unknown(obj)
	s.complete(obj)
	if blocksRules(s.check(obj)) {
		return nil, nil
	}
	return s, obj
}
