package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	fakeedge "github.com/lintel-dev/lintel/conformance/edge"
)

// diagnoseTunnel calls lintel tunnel diagnose.
func diagnoseTunnel(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRootCommand(new(job))
	root.SetOut(&out)
	root.SetArgs(append([]string{"tunnel", "diagnose"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTunnelIsDiagnosed(t *testing.T) {
	e, cf := fakeedge.ForTest(t, fakeedge.Options{Servers: 2}), cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	roots, token := filepath.Join(t.TempDir(), "roots.pem"), filepath.Join(t.TempDir(), "token")
	if err := errors.Join(os.WriteFile(roots, e.RootsPEM, 0o600), os.WriteFile(token, []byte(e.Allow(uuid.New())+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CLOUDFLARE_API_TOKEN", cloudflare.Token)
	servers := e.Addresses()
	edges := servers[0].String() + "," + servers[1].String()
	all := []string{"--token", "file:" + token, "--edge", edges, "--edge-ca", roots,
		"--api-token", "env:CLOUDFLARE_API_TOKEN", "--account", cloudflare.AccountID, "--zone", "example.test", "--api-url", cf.URL}
	out, err := diagnoseTunnel(t, all...)
	if err != nil || strings.Count(out, "  ok  ") != 8 {
		t.Errorf("%v\n%s", err, out)
	}
	e.BlockQUIC()
	cf.RevokeToken(cloudflare.Token)
	out, err = diagnoseTunnel(t, all...)
	if !errors.Is(err, errReported) || strings.Count(out, "  warning  ") != 2 || strings.Count(out, "  failed  ") != 2 ||
		!strings.Contains(out, "let UDP to port") || !strings.Contains(out, "give the API token the permission") {
		t.Errorf("%v\n%s", err, out)
	}
	for flag, value := range map[string]string{"--token": "eyJhIjoi", "--api-token": "secret:a/b", "--protocol": "http3", "--edge": "localhost", "--zone": "example.test", "--edge-ca": token} {
		if out, err := diagnoseTunnel(t, flag, value); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s %s: %v\n%s", flag, value, err, out)
		}
	}
}
