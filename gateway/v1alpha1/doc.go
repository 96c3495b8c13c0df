// Package v1alpha1 is the API group lintel.dev in version v1alpha1: the Go types of our own
// CRDs, which deploy/chart/files holds. What the fields mean stands there.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the name of the API group, and Version that of the version.
const (
	Group   = "lintel.dev"
	Version = "v1alpha1"
)

// GroupVersion is both.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &Tunnel{}, &TunnelList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
