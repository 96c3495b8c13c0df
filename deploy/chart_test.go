// Package deploy tests what Lintel is installed with.
package deploy

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/lintel-dev/lintel/deploy/helm"
)

var update = flag.Bool("update", false, "write rendered files and golden files instead of comparing them")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

func newHelm(t *testing.T) *helm.Helm {
	t.Helper()
	if testing.Short() {
		t.Skip("builds Helm")
	}
	h, err := helm.New(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// render returns the chart's objects for a release lintel in a namespace lintel.
func render(ctx context.Context, h *helm.Helm, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"template", "lintel", "chart", "--namespace", "lintel"}, args...)...)
}

func TestChartLints(t *testing.T) {
	if out, err := newHelm(t).Run(t.Context(), "lint", "--strict", "--quiet", "chart"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Each file has values, the templates to show, and what they become. Defaults are
// seen in kustomize/lintel.yaml.
func TestChartTemplates(t *testing.T) {
	h := newHelm(t)
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, archive.Files[0].Data, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"--values", values}
			for name := range strings.FieldsSeq(string(archive.Files[1].Data)) {
				args = append(args, "--show-only", "templates/"+name+".yaml")
			}
			got, err := render(t.Context(), h, args...)
			if err != nil {
				t.Fatal(err)
			}
			checkObjects(t, got)
			if *update {
				archive.Files[2].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil { //nolint:gosec // A public file.
					t.Fatal(err)
				}
				return
			}
			if got != string(archive.Files[2].Data) {
				t.Errorf("differs from what -update writes:\n%s", got)
			}
		})
	}
}

func TestChartRefuses(t *testing.T) {
	h := newHelm(t)
	for _, tc := range []struct{ set, want string }{
		{"exposre=HostNetwork", "'exposre' not allowed"},
		{"image.pullpolicy=Always", "'/image': additional properties 'pullpolicy' not allowed"},
		{"settings.httpPrt=8080", "'/settings': additional properties 'httpPrt' not allowed"},
		{"settings.adminAddress=:1", "'adminAddress' not allowed"},
		{"settings.httpPort=70000", "/settings/httpPort"},
		{"settings.drainTimeout=25", "/settings/drainTimeout"},
		{"ports.web.port=8080", "missing property 'protocol'"},
		{"exposure=NodePort", "/exposure"},
		{"settings.addressPools={192.0.2.0/24}", "needs exposure: HostNetwork"},
		{"settings.hostPorts=sk_lookup", "needs exposure: HostNetwork"},
		{"settings.dnsResponderAddress={192.168.1.2:53}", `write ":53", or set exposure: HostNetwork`},
		{"settings.dnsResponderAddress={:443}", "both have port 443"},
		{"settings.acmeIssuers[0].name=a", "missing property 'solver'"},
		{"settings.acmeIssuers[0].name=a,settings.acmeIssuers[0].solver=http-01,settings.acmeIssuers[0].directry=x", "'directry' not allowed"},
		{"settings.gatewayClass={other}", `does not have "lintel"`},
	} {
		_, err := render(t.Context(), h, "--set", tc.set)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", tc.set, err, tc.want)
		}
	}
}

// What Helm says of itself is not true of files that are applied without it, and
// kustomize names the ConfigMap by what it holds.
var helmOnly = regexp.MustCompile(`(?m)^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by|lintel\.dev/settings): .*\n|^ *# The settings are read once.*\n|^# Source: .*\n`)

const renderedHead = "# Made from deploy/chart by make generate: edit that.\n"

func TestRenderedFilesAreCurrent(t *testing.T) {
	h := newHelm(t)
	all, err := render(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	checkObjects(t, all)
	namespace, err := os.ReadFile("kustomize/namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	permissions, err := render(t.Context(), h, "--show-only", "templates/serviceaccount.yaml", "--show-only", "templates/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	orders, err := render(t.Context(), h, "--show-only", "templates/rbac-certificates.yaml", "--set", "settings.acmeSolver=http-01")
	if err != nil {
		t.Fatal(err)
	}
	tunnels, err := render(t.Context(), h, "--show-only", "templates/rbac-tunnels.yaml", "--set", "rbac.createTunnels=true")
	if err != nil {
		t.Fatal(err)
	}
	const tunnelsHead = renderedHead + `# What Lintel may do beside that in order to keep the tokens of tunnels that it creates, with rbac.yaml or with kustomize.
`
	const ordersHead = renderedHead + `# What Lintel may do beside that in order to get certificates, with rbac.yaml or with kustomize.
`
	const permissionsHead = renderedHead + `# What Lintel may do in a cluster, for one that runs outside of it. To limit it to some namespaces, set watchNamespaces and
# bind lintel-core, lintel-gateway-api and lintel-ingress there with RoleBindings instead.
`
	for path, want := range map[string]string{
		"kustomize/lintel.yaml":  renderedHead + plain(all, "ConfigMap"),
		"rbac.yaml":              permissionsHead + string(namespace) + plain(permissions),
		"rbac-tunnels.yaml":      tunnelsHead + strings.TrimPrefix(plain(tunnels), "---\n"),
		"rbac-certificates.yaml": ordersHead + strings.TrimPrefix(plain(orders), "---\n"),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // A public file.
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("deploy/%s is not current: run make generate", path)
		}
	}
}

// plain returns rendered objects without what is Helm's, and without some kinds.
func plain(rendered string, without ...string) string {
	var out strings.Builder
	for document := range strings.SplitSeq("\n"+rendered, "\n---\n") {
		document = strings.TrimSpace(helmOnly.ReplaceAllString(document+"\n", ""))
		unwanted := document == ""
		for _, kind := range without {
			unwanted = unwanted || strings.Contains(document, "\nkind: "+kind+"\n")
		}
		if !unwanted {
			out.WriteString("---\n" + document + "\n")
		}
	}
	return out.String()
}

// The kustomization lists the files there are, and its ConfigMap is the one that Pods
// mount.
func TestKustomization(t *testing.T) {
	kustomization, err := os.ReadFile("kustomize/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := os.ReadFile("kustomize/lintel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"namespace.yaml", "lintel.yaml", "settings.yaml"} {
		if _, err := os.Stat(filepath.Join("kustomize", file)); err != nil || !bytes.Contains(kustomization, []byte(file)) {
			t.Errorf("%s is not in the kustomization, or is not there: %v", file, err)
		}
	}
	if !bytes.Contains(objects, []byte("configMap:\n          name: lintel\n")) || !bytes.Contains(kustomization, []byte("\n- name: lintel\n")) {
		t.Error("the Pods do not mount the ConfigMap that the kustomization makes")
	}
}
