package kube

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/gentype"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// tunnelResource is that of Tunnels.
func tunnelResource() schema.GroupResource {
	return schema.GroupResource{Group: v1alpha1.Group, Resource: "tunnels"}
}

// tunnels returns the API of Tunnels in a namespace; "" is all.
func (c clients) tunnels(namespace string) *gentype.ClientWithList[*v1alpha1.Tunnel, *v1alpha1.TunnelList] {
	return gentype.NewClientWithList(tunnelResource().Resource, c.lintel, c.lintel.parameters, namespace,
		func() *v1alpha1.Tunnel { return &v1alpha1.Tunnel{} }, func() *v1alpha1.TunnelList { return &v1alpha1.TunnelList{} })
}

// newTunnelStatusKind writes the status of Tunnels. One that is no longer named by anything of
// ours loses its status.
func newTunnelStatusKind(c clients) statusKind {
	k := newStatusKind(
		func(ns string) statusClient[*v1alpha1.Tunnel] { return c.tunnels(ns) },
		func(m merger, o *v1alpha1.Tunnel, want *gateway.Status) statusFields { return m.tunnel(o, want.Tunnel) })
	k.released = func(current metav1.Object, was *gateway.Status) *gateway.Status {
		return &gateway.Status{Object: was.Object, UID: was.UID, Generation: current.GetGeneration(), Tunnel: &v1alpha1.TunnelStatus{}}
	}
	return k
}

func (m merger) tunnel(current *v1alpha1.Tunnel, want *v1alpha1.TunnelStatus) statusFields {
	f := statusFields{}
	is := &current.Status
	set := func(name string, was, now string) {
		if was != now {
			f[name] = stringOrNull(now)
		}
	}
	set("id", is.ID, want.ID)
	set("hostname", is.Hostname, want.Hostname)
	set("lastError", is.LastError, want.LastError)
	f.set("connected", is.Connected, want.Connected)
	f.set("connections", is.Connections, want.Connections)
	f.set("conditions", is.Conditions, m.conditions(is.Conditions, want.Conditions, tunnelConditions()))
	return f
}

// stringOrNull removes a field in place of making it empty.
func stringOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
