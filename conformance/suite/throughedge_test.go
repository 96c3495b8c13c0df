package suite

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/gateway-api/conformance/utils/roundtripper"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// edgeFolder names the environment variable that has the folder of conformance/run's fake of
// Cloudflare's edge. With it, each Gateway of the suite is reached through a tunnel of its own.
const edgeFolder = "LINTEL_CONFORMANCE_EDGE"

// throughEdge lets requests go through tunnels.
func throughEdge(t *testing.T, o *suite.ConformanceOptions, dir string) {
	t.Helper()
	for i := range o.ManifestFS {
		o.ManifestFS[i] = tunnelled{files: o.ManifestFS[i], dir: dir}
	}
	o.RoundTripper = &roundtripper.DefaultRoundTripper{
		Debug: o.Debug, TimeoutConfig: o.TimeoutConfig,
		CustomDialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			id, _, _ := strings.Cut(address, ".")
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, id+".sock"))
		},
	}
}

// tunnelled are manifests in which each Gateway has a Tunnel.
type tunnelled struct {
	files fs.FS
	dir   string
}

// Open implements fs.FS.
func (m tunnelled) Open(name string) (fs.File, error) {
	text, err := fs.ReadFile(m.files, name)
	if err != nil || !strings.HasSuffix(name, ".yaml") {
		return m.files.Open(name)
	}
	var out bytes.Buffer
	for _, document := range strings.Split(string(text), "\n---") {
		changed, err := m.tunnel(document)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		out.WriteString(strings.TrimSuffix(changed, "\n") + "\n---")
	}
	return fstest.MapFS{name: &fstest.MapFile{Data: []byte(strings.TrimSuffix(out.String(), "---"))}}.Open(name)
}

const tunnelObjects = `
---
apiVersion: lintel.dev/v1alpha1
kind: Tunnel
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  credentials: {token: {name: %[1]s}}
  edge: {addresses: ["%[3]s"], ca: {name: %[1]s}}
  localSockets: Closed
---
apiVersion: v1
kind: Secret
metadata: {name: %[1]s, namespace: %[2]s}
data: {token: %[4]s, ca.crt: %[5]s}
`

// tunnel gives a Gateway a Tunnel, and leaves other objects alone.
func (m tunnelled) tunnel(document string) (string, error) {
	var object struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
		Spec     struct{ Infrastructure any }
	}
	if err := yaml.Unmarshal([]byte(document), &object); err != nil || object.Kind != "Gateway" || object.Spec.Infrastructure != nil {
		return document, nil // it may be a template that is not YAML yet
	}
	name, namespace := object.Metadata.Name, object.Metadata.Namespace
	token, err := m.token(namespace + "/" + name)
	if err != nil {
		return "", err
	}
	addresses, err := os.ReadFile(filepath.Join(m.dir, "addresses"))
	if err != nil {
		return "", err
	}
	roots, err := os.ReadFile(filepath.Join(m.dir, "roots.pem"))
	if err != nil {
		return "", err
	}
	reference := "\nspec:\n  infrastructure: {parametersRef: {group: lintel.dev, kind: Tunnel, name: " + name + "}}\n"
	return strings.Replace(document, "\nspec:\n", reference, 1) + fmt.Sprintf(tunnelObjects, name, namespace,
		strings.ReplaceAll(string(addresses), ",", `", "`), base64.StdEncoding.EncodeToString(token), base64.StdEncoding.EncodeToString(roots)), nil
}

// token gets that of a Gateway's tunnel.
func (m tunnelled) token(gateway string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(m.dir, "control.sock"))
	}}}
	res, err := client.Get("http://edge/?" + url.Values{"gateway": {gateway}}.Encode())
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	token, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the edge answers %s: %s", res.Status, token)
	}
	return token, err
}
