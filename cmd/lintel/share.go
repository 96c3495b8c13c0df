package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"

	"github.com/lintel-dev/lintel/kube"
)

// shareName is what the replicas have in common that have their listening sockets between
// them: they are one installation, which the Lease is of. "" is nobody's.
func shareName(s *Settings) string {
	if !s.ShareSockets {
		return ""
	}
	namespace := s.LeaseNamespace
	if s.Manifests == "" {
		namespace = cmp.Or(namespace, kube.Namespace(s.Kubeconfig))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{s.ControllerName, s.IngressControllerName, namespace, s.LeaseName}))
	return fmt.Sprintf("%x", sum[:8])
}
