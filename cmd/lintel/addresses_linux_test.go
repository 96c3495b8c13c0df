package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lintel-dev/lintel/conformance/instance"
)

// TestAddressOfPool serves a Gateway on an address of a pool, which the node has only
// as long as Lintel runs.
func TestAddressOfPool(t *testing.T) {
	if testing.Short() || !inNamespace(t) {
		return
	}
	stop := startRun(t, "--manifests="+writeGatewayOfPool(t), "--admin-address=", "--access-log=off", "--address-pools=192.0.2.64/32", "--http-port=0", "--https-port=0")
	untilNil(t, "the redirect comes from the address of the pool", func() error {
		location, err := locationOf("http://192.0.2.64/")
		if err == nil && location != "http://moved.example.com/" {
			err = fmt.Errorf("the answer redirects to %q", location)
		}
		return err
	})
	stop()
	if _, err := locationOf("http://192.0.2.64/"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("after the end: %v, want a network that is unreachable", err)
	}
}

// writeGatewayOfPool writes a Gateway that takes its address from a pool and redirects.
func writeGatewayOfPool(t *testing.T) (manifests string) {
	t.Helper()
	manifests = filepath.Join(t.TempDir(), "gateway.yaml")
	replaceFile(t, manifests, instance.Together(instance.PlainGateway(":80"), `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: moved.example.com}}]}]
`))
	return manifests
}

func locationOf(url string) (string, error) {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.Header.Get("Location"), nil
}
