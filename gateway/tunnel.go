package gateway

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

const kindTunnel = v1alpha1.KindTunnel

// Tunnel is a Cloudflare Tunnel that is to be connected, and what it leads to.
type Tunnel struct {
	Name types.NamespacedName
	// Token or File are the credentials; both are "" while there are none.
	Token, File string
	// Missing says that a Secret which it names is not there, or not read yet: a tunnel that
	// is connected goes on with what it has.
	Missing  bool
	Protocol v1alpha1.TunnelProtocol
	Edge     TunnelEdge
	// Create says how to find or create the tunnel; nil for one that is given. Then Token is
	// what the Secret has that it is kept in.
	Create *TunnelCreation
	DNS    TunnelRecords
	// Access is what requests must have passed; nil for nothing.
	Access *v1alpha1.TunnelAccess
	// Plain and Secure are the sockets of the Table that requests land on by their scheme,
	// and Streams those of TCP by port. None of them is in Plan.Sockets.
	Plain, Secure string
	Streams       map[uint16]string
	// Objects are the Gateways and classes that name the Tunnel.
	Objects []ObjectRef
}

// TunnelCreation is a tunnel that Lintel cares for itself.
type TunnelCreation struct {
	AccountID, Name string
	APIToken        string // "" while there is none
	// Secret is where its token is kept, under the key "token".
	Secret types.NamespacedName
}

// TunnelRecords are the DNS records that lead to a tunnel.
type TunnelRecords struct {
	Mode    v1alpha1.TunnelDNSMode
	Domains []string
	// APIToken is "" for that of the settings.
	APIToken string
	Release  string
	// Fault is why no records are kept though they are wanted; nil for nothing.
	Fault *Problem
}

// TunnelEdge is where a Tunnel's edge is; the zero value is Cloudflare's own.
type TunnelEdge struct {
	Region    string
	Addresses []netip.AddrPort
	CA        string // PEM; "" is Cloudflare's
}

// boundTunnel is a Tunnel that a Gateway, or a class of ours, names.
type boundTunnel struct {
	*v1alpha1.Tunnel
	ref      ObjectRef
	plan     *Tunnel
	accepted *Problem // why it is not accepted; nil if it is
	// pending says that a Secret which it names is not read yet.
	pending bool

	gateways []*boundGateway
	// The ports that lead somewhere, by scheme, and whether there is a Listener for https
	// at all.
	plain, secure []int32
	secured       bool
}

// closed reports whether what is reached through the tunnel has no sockets beside it.
func (t *boundTunnel) closed() bool { return t.Spec.LocalSockets == v1alpha1.LocalSocketsClosed }

// parameters are what a Gateway or a class refers to.
type parameters struct {
	from                         ObjectRef
	field                        string
	group, kind, namespace, name string
}

// tunnelOf returns the Tunnel that parameters name, or why there is none.
func (b *build) tunnelOf(p parameters) (*boundTunnel, *Problem) {
	fault := func(field, message string) (*boundTunnel, *Problem) {
		return nil, &Problem{Object: p.from, Field: field, Reason: string(gatewayv1.GatewayReasonInvalidParameters), Message: message}
	}
	if p.group != v1alpha1.Group || p.kind != kindTunnel {
		return fault(p.field, fmt.Sprintf("%s %q is not a kind of parameters that this controller reads; refer to a Tunnel of group lintel.dev, or remove the field", p.kind, p.name))
	}
	if p.namespace == "" {
		return fault(p.field+".namespace", fmt.Sprintf("a Tunnel is in a namespace; say which one Tunnel %q is in", p.name))
	}
	name := types.NamespacedName{Namespace: p.namespace, Name: p.name}
	t := b.tunnels[name]
	if t == nil {
		object := b.tunnelObjects[name]
		if object == nil {
			return fault(p.field+".name", fmt.Sprintf("Tunnel %s not found", name))
		}
		t = &boundTunnel{Tunnel: object, ref: ObjectRef{kindTunnel, name.Namespace, name.Name}, plan: &Tunnel{Name: name}}
		b.tunnels[name] = t
		b.resolveTunnel(t)
	}
	if !slices.Contains(t.plan.Objects, p.from) {
		t.plan.Objects = append(t.plan.Objects, p.from)
	}
	return t, nil
}

// gatewayTunnel finds the Tunnel of a Gateway: its own, or else that of its class.
func (b *build) gatewayTunnel(g *boundGateway) {
	t := b.classTunnels[string(g.Spec.GatewayClassName)]
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		r := i.ParametersRef
		own, fault := b.tunnelOf(parameters{g.ref, "spec.infrastructure.parametersRef", string(r.Group), string(r.Kind), g.Namespace, r.Name})
		if fault != nil {
			b.refuseGateway(g, fault.Field, gatewayv1.GatewayReasonInvalidParameters, fault.Message)
			return
		}
		t = own
	}
	if t == nil {
		return
	}
	g.tunnel = t
	t.gateways = append(t.gateways, g)
	if t.closed() {
		g.requests = nil
	}
}

// Reasons of the condition Accepted of a Tunnel.
const (
	reasonInvalid        = "Invalid"
	reasonSecretNotFound = "SecretNotFound"
	reasonBadCredentials = "InvalidCredentials"
)

// refuseTunnel records and reports why a Tunnel is not accepted, once.
func (b *build) refuseTunnel(t *boundTunnel, p Problem) {
	if t.accepted == nil {
		t.accepted = &p
		b.report(p)
	}
}
