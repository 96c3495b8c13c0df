package kube

import (
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
)

// serviceAccountNamespace is where Kubernetes tells a Pod its namespace.
const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Namespace returns the one that this process belongs to: that of its Pod, or else of
// the current context of the kubeconfig that Client reads, or else "default".
func Namespace(kubeconfig string) string {
	if kubeconfig == "" {
		if name := os.Getenv("POD_NAMESPACE"); name != "" {
			return name
		}
		if name, err := os.ReadFile(serviceAccountNamespace); err == nil {
			return strings.TrimSpace(string(name))
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	name, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).Namespace()
	if err != nil || name == "" {
		return "default"
	}
	return name
}
