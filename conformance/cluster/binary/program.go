package binary

import "strings"

// Program names something to build.
type Program struct {
	Name    string   // of the file
	Module  string   // folder, seen from conformance/cluster, that holds its go.mod
	Package string   // import path of its main package, or of the package to test
	Test    bool     // build the package's test instead
	Tags    []string // build tags
	LDFlags []string // beyond -s -w
}

// Etcd is etcd.
func Etcd() Program {
	return Program{Name: "etcd", Module: "etcd", Package: "go.etcd.io/etcd/server/v3"}
}

// KubeAPIServer is kube-apiserver.
func KubeAPIServer() Program { return Kube("kube-apiserver") }

// kubeVersion is that of k8s.io/kubernetes in conformance/cluster/kube/go.mod.
const kubeVersion = "v1.36.3"

// Kube is a program of k8s.io/kubernetes: a folder of its cmd.
func Kube(name string) Program {
	const version = "k8s.io/component-base/version"
	return Program{
		Name: name, Module: "kube", Package: "k8s.io/kubernetes/cmd/" + name,
		// Without these it would call itself v0.0.0.
		LDFlags: []string{
			"-X", version + ".gitVersion=" + kubeVersion, "-X", version + ".gitMajor=1", "-X", version + ".gitMinor=36",
			"-X", version + ".gitTreeState=clean",
		},
	}
}

// Containerd is a program of containerd: a folder of its cmd.
func Containerd(name string) Program {
	return Program{
		Name: name, Module: "cri", Package: "github.com/containerd/containerd/v2/cmd/" + name,
		Tags: []string{"no_btrfs", "no_devmapper", "no_zfs"}, // overlayfs is enough
	}
}

// CNI is a network plugin: a folder of github.com/containernetworking/plugins, like
// "main/bridge".
func CNI(folder string) Program {
	return Program{
		Name: folder[strings.LastIndexByte(folder, '/')+1:], Module: "cri",
		Package: "github.com/containernetworking/plugins/plugins/" + folder,
	}
}

// Echo is the backend of Gateway API's conformance suite.
func Echo() Program {
	return Program{Name: "echo-basic", Module: "echo", Package: "sigs.k8s.io/gateway-api-conformance-images/echo-basic"}
}

// Pause is what keeps a Pod's namespaces.
func Pause() Program { return Program{Name: "pause", Module: "pause", Package: "."} }

// Suite is the conformance suite of Gateway API, with the flags of a Go test.
func Suite() Program {
	return Program{Name: "gateway-api-conformance", Module: "../suite", Package: ".", Test: true}
}
