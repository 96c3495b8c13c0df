package node

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed files
var files embed.FS

func (n Node) file(name string) string { return filepath.Join(n.Dir, name) }

// configure writes the configuration of the programs.
func (n Node) configure() error {
	values := map[string]string{
		"Name": n.Name, "Address": n.Address.Addr().String(), "Pods": n.Pods.String(),
		"State": n.state(), "Bin": n.bin(""), "CNI": n.file("cni"), "ControlPlane": n.controlPlane(),
		"ProxyKubeconfig": n.file("kube-proxy.kubeconfig"),
		"Socket":          containerdSocket, "PauseImage": pauseImage, "Cgroup": "/" + cgroupRoot,
	}
	all, err := template.ParseFS(files, "files/*")
	if err != nil {
		return fmt.Errorf("parse configuration: %w", err)
	}
	for file, path := range map[string]string{
		"kubelet.yaml": n.file("kubelet.yaml"), "containerd.toml": n.file("containerd.toml"),
		"kube-proxy.yaml": n.file("kube-proxy.yaml"), "pods.conflist": filepath.Join(n.file("cni"), "pods.conflist"),
	} {
		if err := write(all.Lookup(file), path, values); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func write(t *template.Template, path string, values map[string]string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.Execute(f, values); err != nil {
		return err
	}
	return f.Close()
}
