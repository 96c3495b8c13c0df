package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyObject implements [runtime.Object].
func (t *Tunnel) DeepCopyObject() runtime.Object { return t.DeepCopy() }

// DeepCopy returns a copy that shares nothing with t.
func (t *Tunnel) DeepCopy() *Tunnel {
	c := &Tunnel{TypeMeta: t.TypeMeta}
	t.DeepCopyInto(&c.ObjectMeta)
	c.Spec = *t.Spec.deepCopy()
	c.Status = *t.Status.DeepCopy()
	return c
}

// DeepCopyObject implements [runtime.Object].
func (l *TunnelList) DeepCopyObject() runtime.Object {
	c := &TunnelList{TypeMeta: l.TypeMeta}
	l.DeepCopyInto(&c.ListMeta)
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopy())
	}
	return c
}

// pointer copies what p points to, which holds no pointers itself.
func pointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

func (s *TunnelSpec) deepCopy() *TunnelSpec {
	c := *s
	c.Credentials = TunnelCredentials{pointer(s.Credentials.Token), pointer(s.Credentials.File), pointer(s.Credentials.Create)}
	if c.DNS = pointer(s.DNS); c.DNS != nil {
		c.DNS.Domains, c.DNS.APIToken = slices.Clone(s.DNS.Domains), pointer(s.DNS.APIToken)
	}
	if c.Access = pointer(s.Access); c.Access != nil {
		c.Access.Audiences = slices.Clone(s.Access.Audiences)
	}
	if c.Edge = pointer(s.Edge); c.Edge != nil {
		c.Edge.Addresses, c.Edge.CA = slices.Clone(s.Edge.Addresses), pointer(s.Edge.CA)
	}
	return &c
}

// DeepCopy returns a copy that shares nothing with s.
func (s *TunnelStatus) DeepCopy() *TunnelStatus {
	c := *s
	c.Connected, c.Connections = pointer(s.Connected), slices.Clone(s.Connections)
	if s.Conditions != nil {
		c.Conditions = make([]metav1.Condition, len(s.Conditions))
		for i := range s.Conditions {
			s.Conditions[i].DeepCopyInto(&c.Conditions[i])
		}
	}
	return &c
}
