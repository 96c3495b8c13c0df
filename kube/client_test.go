package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`

func TestClient(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, flag, env, err string // err is part of the error, "" for success
	}{
		{"flag", file, "", ""},
		{"environment", "", file, ""},
		{"flag before environment", file, "/absent", ""},
		{"no such file", "/absent", "", "load kubeconfig --kubeconfig /absent: "},
		{"no such file in the environment", "", "/absent", "load kubeconfig KUBECONFIG=/absent: "},
		{"nothing", "", "", "no --kubeconfig, no $KUBECONFIG, not in a Pod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOME", home)
			t.Setenv("KUBECONFIG", test.env)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			config, err := Client(test.flag)
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want %q in it", err, test.err)
			case test.err == "" && err != nil:
				t.Errorf("error %v, want none", err)
			case test.err == "" && (config.Host != "https://192.0.2.1:6443" || !strings.HasPrefix(config.UserAgent, "lintel/")):
				t.Errorf("got host %q, user agent %q", config.Host, config.UserAgent)
			}
		})
	}
}
