package lintel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/lintel-dev/lintel"
	// maxLines is how long a file may get before it has to be parted.
	maxLines = 600
)

// mayImport says which packages of ours a folder may import, with everything
// below them: imports go down only (docs/ARCHITECTURE.md). A folder that is
// missing here may import nothing of ours.
func mayImport() map[string][]string {
	leaf := []string{"internal/latest", "internal/nearest", "internal/succession"}
	return map[string][]string{
		"cmd":                 {"kube", "manifest", "gateway", "proxy", "router", "tls", "tunnel", "externaldns", "bpf", "observe", "address", "internal/latest", "internal/nearest", "internal/succession", "conformance/cluster"},
		"kube":                {"gateway", "router", "internal/latest"},
		"manifest":            {"gateway", "router", "internal/latest", "manifest"},
		"gateway":             {"gateway", "router", "internal/latest", "internal/nearest"},
		"proxy":               {"router", "internal/latest", "internal/edgewire", "internal/succession", "proxy"},
		"router":              {},
		"tls":                 append([]string{"internal/retryafter"}, leaf...),
		"tunnel":              append([]string{"tunnel", "internal/cloudflare", "internal/edgewire"}, leaf...),
		"externaldns":         append([]string{"externaldns", "internal/cloudflare"}, leaf...),
		"bpf":                 append([]string{"bpf"}, leaf...),
		"observe":             leaf,
		"address":             leaf,
		"conformance":         {"conformance", "deploy"},
		"deploy":              {"deploy", "conformance/cluster"},
		"bench":               {"conformance/cluster", "conformance/edge", "conformance/process"},
		"examples":            {},
		"internal/cloudflare": {"internal/retryafter"},
		"internal/edgewire":   {},
		"internal/filelimit":  {},
		"internal/latest":     {},
		"internal/nearest":    {},
		"internal/retryafter": {},
		"internal/succession": {},
	}
}

// testsMayImport adds what only tests need: the real parts that they run against,
// and what is compared with them.
func testsMayImport() map[string][]string {
	parts := []string{"conformance"}
	return map[string][]string{"kube": parts, "cmd": parts, "tls": {"conformance", "tls"}, "tunnel": append([]string{"proxy", "router"}, parts...), "externaldns": parts, "conformance": {"manifest"}}
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// inside tells whether path is folder or below it.
func inside(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// floor returns the key of mayImport that a package belongs to.
func floor(path string) string {
	if strings.HasPrefix(path, "internal/") {
		return path
	}
	folder, _, _ := strings.Cut(path, "/")
	return folder
}

func TestImportsGoDownOnly(t *testing.T) {
	rules, testRules := mayImport(), testsMayImport()
	for _, p := range listPackages(t) {
		path, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			continue
		}
		if _, known := rules[floor(path)]; !known {
			t.Errorf("%s stands on no floor: add it to docs/ARCHITECTURE.md and to this test", path)
			continue
		}
		allowed := rules[floor(path)]
		checkImports(t, path, p.Imports, allowed)
		tests := slices.Concat(allowed, testRules[floor(path)], []string{path, "internal/filelimit"})
		checkImports(t, path+" (tests)", slices.Concat(p.TestImports, p.XTestImports), tests)
	}
}

func checkImports(t *testing.T, importer string, imports, allowed []string) {
	t.Helper()
	for _, imported := range imports {
		path, ours := strings.CutPrefix(imported, module+"/")
		if ours && !slices.ContainsFunc(allowed, func(folder string) bool { return inside(path, folder) }) {
			t.Errorf("%s imports %s: imports go down only", importer, path)
		}
	}
}

// The router is read by every request: nothing of it may come from elsewhere.
func TestRouterNeedsTheStandardLibraryAlone(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath != module+"/router" {
			continue
		}
		for _, imported := range p.Imports {
			if domain, _, _ := strings.Cut(imported, "/"); strings.Contains(domain, ".") {
				t.Errorf("router imports %s", imported)
			}
		}
	}
}

// Who imports both could mistake one for the other.
func TestOnlyCmdAndProxyKnowBothPackagesCalledTLS(t *testing.T) {
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if inside(path, "cmd") || inside(path, "proxy") {
			continue
		}
		if slices.Contains(p.Imports, "crypto/tls") && slices.Contains(p.Imports, module+"/tls") {
			t.Errorf("%s imports crypto/tls and our tls", path)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if lines := bytes.Count(text, []byte("\n")); lines > maxLines && !bytes.Contains(text, []byte("\n// Code generated ")) {
			t.Errorf("%s has %d lines, more than %d", path, lines, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
