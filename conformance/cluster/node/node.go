// Package node makes a Linux machine (package machine) a Kubernetes node that its
// control plane runs on too: kubelet, containerd, runc, a bridge for Pods with host
// ports, and kube-proxy.
//
// Everything that they write is in one folder, or in memory that goes with the
// machine; what is outside of both is covered or copied on write. Cgroups are the
// exception: see RemoveCgroups.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
)

// startTimeout is far more than the 20 s that a start takes, for busy machines.
const startTimeout = 5 * time.Minute

// Node is where a node's files are, and how it is called and reached.
type Node struct {
	Dir     string       // holds bin (see Install), log, and all else
	Name    string       // of the Node object and the host
	Address netip.Prefix // its own, with the network that nodes share
	Pods    netip.Prefix // where its Pods get theirs
	// NoProxy leaves kube-proxy out: nobody serves the addresses of Services.
	NoProxy bool
}

// First is the node that the control plane runs on.
func First(dir string) Node {
	return Node{
		Dir: dir, Name: "node1",
		Address: netip.MustParsePrefix("10.89.0.1/24"),
		Pods:    netip.MustParsePrefix("10.244.1.0/24"),
	}
}

// RunDir is the folder of the one cluster of this user.
func RunDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	return filepath.Join(cache, "lintel", "cluster", "run", "machine"), nil
}

// apiPort is where the API server listens on the first node.
const apiPort = 6443

// Kubeconfig is the path of the administrator's.
func (n Node) Kubeconfig() string { return filepath.Join(n.controlPlane(), "kubeconfig") }

func (n Node) controlPlane() string { return filepath.Join(n.Dir, "controlplane") }
func (n Node) state() string        { return filepath.Join(n.Dir, "state") } // in memory
func (n Node) logs() string         { return filepath.Join(n.Dir, "log") }
func (n Node) bin(name string) string {
	return filepath.Join(n.Dir, "bin", name)
}

// Environment is what the environment of a program in the machine needs beside that
// of others.
func (n Node) Environment() []string {
	return []string{
		"PATH=" + n.bin("") + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"KUBECONFIG=" + n.Kubeconfig(),
		"CONTAINERD_ADDRESS=" + containerdSocket, "CONTAINERD_NAMESPACE=k8s.io",
	}
}

// Start makes the machine that it is called in this node, with a control plane and
// the Gateway API's CRDs, and returns when the node is ready for Pods. All programs
// outlive it. The environment must be n.Environment.
func (n Node) Start(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func() error{n.mount, n.network, makeCgroups, n.configure} {
		if err := step(); err != nil {
			return err
		}
	}
	plane, err := controlplane.Start(ctx, controlplane.Options{
		Dir: n.controlPlane(), Address: netip.AddrPortFrom(n.Address.Addr(), apiPort), Log: log,
	})
	if err != nil {
		return err
	}
	log.Info("API server is ready")
	if err := n.startPrograms(plane); err != nil {
		return err
	}
	var parts errgroup.Group
	parts.Go(func() error { return plane.InstallCRDs(ctx) })
	parts.Go(func() error { return n.importImages(ctx) })
	if err := parts.Wait(); err != nil {
		return err
	}
	if err := n.startKubelet(plane); err != nil {
		return err
	}
	return n.waitReady(ctx, plane)
}

// waitReady returns when Pods can be made in the namespace "default".
func (n Node) waitReady(ctx context.Context, plane *controlplane.ControlPlane) error {
	client, err := kubernetes.NewForConfig(plane.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return plane.Poll(ctx, "wait until node "+n.Name+" is ready", func() error {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		node, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("node %s is not ready", n.Name)
	})
}
