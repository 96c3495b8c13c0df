package manifest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
)

// folder is a folder of manifests.
type folder struct {
	t    *testing.T
	path string
}

func newFolder(t *testing.T) folder { return folder{t, t.TempDir()} }

func (f folder) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) load() *Source {
	f.t.Helper()
	s := New(f.path)
	if err := s.Load(); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// again reads the folder again, as a change would make it.
func (f folder) again(s *Source) gateway.Change {
	f.t.Helper()
	l, err := s.list()
	if err != nil {
		f.t.Fatal(err)
	}
	s.reload(l, takeEmpty)
	select {
	case <-s.changed:
	default:
	}
	news := s.news
	s.news = gateway.Change{}
	return news
}

// problems returns those of s with paths below the folder.
func (f folder) problems(s *Source) []string {
	var lines []string
	for _, p := range s.Problems() {
		lines = append(lines, strings.ReplaceAll(p.String(), f.path+"/", ""))
	}
	return lines
}

func configMap(name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {value: %s}\n", name, value)
}

// values lists the ConfigMaps of a Snapshot, "a=1 b=2".
func values(s *Source) string {
	var list []string
	for _, m := range s.Snapshot().ConfigMaps {
		list = append(list, m.Name+"="+m.Data["value"])
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestLoadReadsAFolder(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one")+configMap("b", "two"))
	f.write("sub/c.yml", configMap("c", "three"))
	f.write("sub/d.json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"value": "four"}}`)
	f.write(".hidden.yaml", configMap("hidden", "x"))
	f.write(".git/e.yaml", configMap("git", "x"))
	f.write("README.md", "# not: [yaml")
	s := f.load()
	if got, want := values(s), "a=one b=two c=three d=four"; got != want {
		t.Errorf("objects %q, want %q", got, want)
	}
	if p := f.problems(s); len(p) > 0 {
		t.Error(p)
	}
}

// What cannot be listed is said, and what was there before goes on being served.
func TestReloadReportsClosedFolders(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	f.write("sub/b.yaml", configMap("b", "one"))
	s := f.load()
	l, err := s.tree.list()
	if err != nil {
		t.Fatal(err)
	}
	// As for a user without rights: root could list any folder.
	sub := filepath.Join(f.path, "sub")
	l.files = []string{filepath.Join(f.path, "a.yaml")}
	l.close(sub, fs.ErrPermission)
	s.reload(l, takeEmpty)
	if got := values(s); got != "a=one b=one" {
		t.Errorf("while closed, %q serves", got)
	}
	if got := s.Problems(); len(got) != 1 || got[0].String() != sub+": read folder: permission denied" {
		t.Errorf("problems: %v", got)
	}
}

func TestLoadReadsOneFileAndStandardInput(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	f.write("b.yaml", configMap("b", "two"))
	s := New(filepath.Join(f.path, "a.yaml"))
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	if got := values(s); got != "a=one" {
		t.Errorf("objects of a file: %q", got)
	}
	s = New(Stdin)
	s.tree.stdin = strings.NewReader(configMap("a", "stdin") + "---\nbroken: [\n")
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	if got := values(s); got != "a=stdin" {
		t.Errorf("objects of standard input: %q", got)
	}
	if p := s.Problems(); len(p) != 1 || p[0].File != "-" || p[0].Line != 7 {
		t.Errorf("problems of standard input: %v", p)
	}
	if err := New(filepath.Join(f.path, "none")).Load(); err == nil {
		t.Error("a path that does not exist was loaded")
	}
}

// Defaults are those of an API server.
func TestLoadCompletes(t *testing.T) {
	f := newFolder(t)
	f.write("all.yaml", httpRoute+"spec: {rules: [{backendRefs: [{name: a, port: 80}]}]}\n---\n"+
		service+"spec: {ports: [{port: 80}]}\n---\n"+
		secret+"data: {a: b25l}\nstringData: {b: two}\n---\n"+
		endpoints+"addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\nports: [{port: 8080}]\n---\n"+
		"apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: team}\nspec: {ports: [{port: 80}]}\n---\n"+
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {a: b}}\n")
	s := f.load()
	if p := f.problems(s); len(p) > 0 {
		t.Fatal(p)
	}
	snapshot := s.Snapshot()
	route := snapshot.HTTPRoutes[0]
	if m := route.Spec.Rules[0].Matches; route.Namespace != "default" || len(m) != 1 || *m[0].Path.Value != "/" {
		t.Errorf("route %s/%s has matches %+v, want the schema's default", route.Namespace, route.Name, m)
	}
	if w := route.Spec.Rules[0].BackendRefs[0].Weight; w == nil || *w != 1 {
		t.Errorf("weight %v, want 1", w)
	}
	if p := snapshot.Services[0].Spec.Ports[0]; p.Protocol != corev1.ProtocolTCP || p.TargetPort.IntVal != 80 {
		t.Errorf("port %+v", p)
	}
	if d := snapshot.Secrets[0].Data; string(d["a"]) != "one" || string(d["b"]) != "two" {
		t.Errorf("Secret data %q", d)
	}
	var namespaces []string
	for _, n := range snapshot.Namespaces {
		namespaces = append(namespaces, fmt.Sprint(n.Name, n.Labels))
	}
	slices.Sort(namespaces)
	want := []string{"default" + fmt.Sprint(map[string]string{"kubernetes.io/metadata.name": "default"}),
		"team" + fmt.Sprint(map[string]string{"a": "b", "kubernetes.io/metadata.name": "team"})}
	if diff := cmp.Diff(want, namespaces); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

// Trust bundles of both versions are one kind.
func TestLoadReadsTrustBundles(t *testing.T) {
	f := newFolder(t)
	f.write("all.yaml", trustBundle+authoritySpec+"---\n"+"apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: roots}\n"+authoritySpec)
	s := f.load()
	if p := f.problems(s); len(p) > 0 {
		t.Fatal(p)
	}
	var names []string
	for _, b := range s.Snapshot().ClusterTrustBundles {
		names = append(names, b.Name)
		if !strings.Contains(b.Spec.TrustBundle, "BEGIN CERTIFICATE") {
			t.Errorf("%s holds %q", b.Name, b.Spec.TrustBundle)
		}
	}
	if diff := cmp.Diff([]string{"example.com:roots", "roots"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// authoritySpec is the spec of a ClusterTrustBundle.
const authoritySpec = `spec:
  trustBundle: |
    -----BEGIN CERTIFICATE-----
    MIIBfzCCASWgAwIBAgIUfzsx/7+xc07FgI8k1IPjRBrAqgkwCgYIKoZIzj0EAwIw
    FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTE3MDYwOFoYDzIxMjYxMDI4
    MTcwNjA4WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
    PQMBBwNCAATCzdZoaWtGUNem8KCMWHR5Zo/gsSpNvCUtK7jQH9u6NRAr57Vg+OSp
    O5N5eoLCydtcyq2uiYV2wq1KBXTYksxfo1MwUTAdBgNVHQ4EFgQU4FeL8tCHNm2x
    4/luvr2Oq98SxIUwHwYDVR0jBBgwFoAU4FeL8tCHNm2x4/luvr2Oq98SxIUwDwYD
    VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAs0N3UAkT3ZJzWVnSbadNd
    G65StxmA/B4ej0cD5eiCqQIhAOjOElb+utgaARAdfSx0uosC+WRi3phDP2BkEGn3
    /ntK
    -----END CERTIFICATE-----
`

// An object keeps its pointer, UID and generation as long as it does not change.
func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one")+configMap("b", "two"))
	s := f.load()
	before := s.Snapshot().ConfigMaps
	<-s.changed
	s.news = gateway.Change{}

	f.write("a.yaml", "# a comment\n"+configMap("b", `"two"`)+configMap("a", "changed"))
	if change := f.again(s); !change.Objects {
		t.Error("no change was reported")
	}
	after := s.Snapshot().ConfigMaps
	if after[0] != before[1] {
		t.Error("an object that only moved is another one now")
	}
	a, b := before[0], after[1]
	if a == b || a.UID != b.UID || a.UID == "" || a.Generation != 1 || b.Generation != 2 {
		t.Errorf("UID %s and generation %d became %s and %d", a.UID, a.Generation, b.UID, b.Generation)
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		t.Error("the creation time changed")
	}
	if after[0].CreationTimestamp.Before(&b.CreationTimestamp) {
		t.Error("the object that came first is not the older one")
	}
	if change := f.again(s); change.Objects {
		t.Error("a change was reported where there was none")
	}
}

// A generation never stands for two contents, whatever happened in between.
func TestGenerationsGrow(t *testing.T) {
	f := newFolder(t)
	f.write("b.yaml", configMap("a", "one"))
	s := f.load()
	seen := map[int64]string{}
	check := func(want string) {
		t.Helper()
		m := s.Snapshot().ConfigMaps
		if len(m) != 1 || m[0].Data["value"] != want {
			t.Fatalf("objects %q, want %q", values(s), want)
		}
		if before, ok := seen[m[0].Generation]; ok && before != want {
			t.Errorf("generation %d stood for %q and %q", m[0].Generation, before, want)
		}
		seen[m[0].Generation] = want
	}
	check("one")
	first := s.Snapshot().ConfigMaps[0]
	f.write("a.yaml", configMap("a", "two")) // comes first, and so wins
	f.again(s)
	check("two")
	os.Remove(filepath.Join(f.path, "a.yaml"))
	f.again(s)
	check("one")
	if first.Generation != 1 {
		t.Errorf("a published object was changed: its generation is %d", first.Generation)
	}
	os.Remove(filepath.Join(f.path, "b.yaml"))
	f.again(s)
	f.write("b.yaml", configMap("a", "three"))
	f.again(s)
	check("three")
}

// What is broken does not take down what served.
func TestLastGoodKeepsServing(t *testing.T) {
	tests := []struct {
		name, text, want, problem string
	}{
		{"object refused", configMap("a", "[1]") + configMap("b", "new"), "a=one b=new", "a.yaml:5"},
		{"file cut in the middle", "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a", "a=one b=two", "a.yaml:4"},
		{"one document broken", configMap("a", "new") + "---\nkind: [\n", "a=new b=two", "a.yaml:7"},
		{"object gone", configMap("b", "two"), "b=two", ""},
		{"file empty", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			f.write("a.yaml", configMap("a", "one")+configMap("b", "two"))
			s := f.load()
			f.write("a.yaml", tt.text)
			f.again(s)
			if got := values(s); got != tt.want {
				t.Errorf("objects %q, want %q", got, tt.want)
			}
			problems := strings.Join(f.problems(s), "\n")
			if tt.problem == "" && problems != "" || !strings.HasPrefix(problems, tt.problem) {
				t.Errorf("problems %q, want one at %q", problems, tt.problem)
			}
			f.write("a.yaml", configMap("a", "mended"))
			f.again(s)
			if got := values(s); got != "a=mended" || len(s.Problems()) > 0 {
				t.Errorf("after mending: %q, %v", got, s.Problems())
			}
		})
	}
}

func TestDuplicatesNameTheFirst(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	f.write("b.yaml", "\n\n"+configMap("a", "two"))
	s := f.load()
	want := []string{"b.yaml:4: ConfigMap default/a: already declared at a.yaml:2"}
	if diff := cmp.Diff(want, f.problems(s)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := values(s); got != "a=one" {
		t.Errorf("objects %q", got)
	}
}

// Endpoints change without a Build.
func TestEndpointSlicesAreNotObjects(t *testing.T) {
	slice := func(service, address string) string {
		return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: {kubernetes.io/service-name: %s}}\naddressType: IPv4\nendpoints: [{addresses: [%s]}]\n", service, address)
	}
	f := newFolder(t)
	f.write("s.yaml", slice("a", "127.0.0.1"))
	s := f.load()
	f.again(s)
	a := types.NamespacedName{Namespace: "default", Name: "a"}
	if got := s.EndpointSlices(a); len(got) != 1 || got[0].Endpoints[0].Addresses[0] != "127.0.0.1" {
		t.Fatalf("slices %v", got)
	}
	f.write("s.yaml", slice("a", "127.0.0.2"))
	if diff := cmp.Diff(gateway.Change{Services: []types.NamespacedName{a}}, f.again(s)); diff != "" {
		t.Errorf("change of an address (-want +got):\n%s", diff)
	}
	f.write("s.yaml", slice("b", "127.0.0.2"))
	if change := f.again(s); change.Objects || len(change.Services) != 2 {
		t.Errorf("change of the Service: %+v, want both Services", change)
	}
	if got := s.EndpointSlices(a); len(got) != 0 {
		t.Errorf("the slice is still that of its old Service: %v", got)
	}
}

func TestLocate(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("x", "y")+"---\n"+httpRoute+`spec:
  hostnames:
  - a.example
  - b.example
  rules:
  - name: first
    matches:
    - path:
        value: /
`)
	s := f.load()
	route := gateway.ObjectRef{Kind: "HTTPRoute", Namespace: "default", Name: "shop"}
	for field, want := range map[string]int{
		"": 7, "metadata.name": 9, "spec": 10, "spec.hostnames[1]": 13, "spec.rules[0]": 15,
		"spec.rules[0].matches[0].path.value": 18, "spec.rules[0].matches[0].path.type": 17,
		"spec.rules[0].backendRefs[2].name": 15, "spec.rules[7]": 14, "status.x": 7,
	} {
		file, line := s.Locate(route, field)
		if filepath.Base(file) != "a.yaml" || line != want {
			t.Errorf("Locate(%q) = %s:%d, want line %d", field, filepath.Base(file), line, want)
		}
	}
	f.write("a.yaml", "# moved down by one\n"+configMap("x", "y")+"---\n"+httpRoute+"spec: {}\n")
	f.again(s)
	if _, line := s.Locate(route, "spec"); line != 11 {
		t.Errorf("after a move, spec is on line %d, want 11", line)
	}
	if file, line := s.Locate(gateway.ObjectRef{Kind: "Gateway", Name: "none"}, ""); file != "" || line != 0 {
		t.Errorf("an object that is not there is at %s:%d", file, line)
	}
}
