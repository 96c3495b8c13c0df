package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
)

const containerdSocket = "/run/containerd/containerd.sock"

// Programs are what a node runs, and its tools, under the names that they call each
// other by.
func Programs() []binary.Program {
	return []binary.Program{
		binary.Etcd(), binary.KubeAPIServer(),
		binary.Kube("kube-controller-manager"), binary.Kube("kube-scheduler"), binary.Kube("kube-proxy"),
		binary.Kube("kubelet"), binary.Kube("kubectl"),
		binary.Containerd("containerd"), binary.Containerd("containerd-shim-runc-v2"), binary.Containerd("ctr"),
		binary.CNI("main/bridge"), binary.CNI("main/loopback"), binary.CNI("ipam/host-local"), binary.CNI("meta/portmap"),
		binary.Echo(), binary.Pause(),
	}
}

// CheckTools says which programs are missing that Programs does not have.
func CheckTools() error {
	for _, tool := range []struct{ name, dpkg string }{
		{"runc", "runc"}, {"nft", "nftables"}, {"ip", "iproute2"}, {"nsenter", "util-linux"}, {"mount", "mount"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return fmt.Errorf("%s is missing; on Debian and Ubuntu: apt-get install --no-install-recommends %s", tool.name, tool.dpkg)
		}
	}
	return nil
}

// Install builds the Programs unless they are cached, and links them into bin.
func (n Node) Install(ctx context.Context, b *binary.Builder) error {
	if err := os.MkdirAll(n.bin(""), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for _, p := range Programs() {
		path, err := b.Build(ctx, p)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, n.bin(p.Name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("install %s: %w", p.Name, err)
		}
	}
	return nil
}

// FirstProcess is the program that a machine is to be started with.
func (n Node) FirstProcess() string { return n.bin(binary.Pause().Name) }

// startPrograms starts everything but the API server and kubelet, which needs
// containerd to answer.
func (n Node) startPrograms(c *controlplane.ControlPlane) error {
	if err := c.Run("containerd", n.bin("containerd"), "--config", n.file("containerd.toml")); err != nil {
		return err
	}
	// As an administrator it need not make an account for each of its controllers
	// first, which takes longer than all else here.
	controllers, err := c.AddUser("kube-controller-manager", controlplane.User{Name: "system:kube-controller-manager", Group: "system:masters"})
	if err != nil {
		return err
	}
	if err := c.Run("kube-controller-manager", n.bin("kube-controller-manager"),
		"--kubeconfig="+controllers.Kubeconfig, "--authentication-kubeconfig="+controllers.Kubeconfig,
		"--authorization-kubeconfig="+controllers.Kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
		"--service-account-private-key-file="+c.TokenKeyFile(), "--root-ca-file="+c.AuthorityFile(),
		"--allocate-node-cidrs=false",
		"--kube-api-qps=200", "--kube-api-burst=400",
	); err != nil {
		return err
	}
	scheduler, err := c.AddUser("kube-scheduler", controlplane.User{Name: "system:kube-scheduler"})
	if err != nil {
		return err
	}
	if err := c.Run("kube-scheduler", n.bin("kube-scheduler"),
		"--kubeconfig="+scheduler.Kubeconfig, "--authentication-kubeconfig="+scheduler.Kubeconfig,
		"--authorization-kubeconfig="+scheduler.Kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1",
	); err != nil {
		return err
	}
	if n.NoProxy {
		return nil
	}
	proxy, err := c.AddUser("kube-proxy", controlplane.User{Name: "system:kube-proxy"})
	if err != nil {
		return err
	}
	if err := os.Symlink(proxy.Kubeconfig, n.file("kube-proxy.kubeconfig")); err != nil {
		return fmt.Errorf("link kubeconfig: %w", err)
	}
	return c.Run("kube-proxy", n.bin("kube-proxy"), "--config="+n.file("kube-proxy.yaml"))
}

func (n Node) startKubelet(c *controlplane.ControlPlane) error {
	user, err := c.AddUser("kubelet", controlplane.User{
		Name: "system:node:" + n.Name, Group: "system:nodes", Addresses: []netip.Addr{n.Address.Addr()},
	})
	if err != nil {
		return err
	}
	return c.Run("kubelet", n.bin("kubelet"),
		"--config="+n.file("kubelet.yaml"), "--kubeconfig="+user.Kubeconfig, "--hostname-override="+n.Name,
		"--node-ip="+n.Address.Addr().String(), "--root-dir="+filepath.Join(n.state(), "kubelet"),
		"--cert-dir="+filepath.Join(n.state(), "kubelet", "pki"))
}
