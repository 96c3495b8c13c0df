package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/router"
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
	// Access is what requests must have passed; nil for nothing.
	Access *v1alpha1.TunnelAccess
	// Plain and Secure are the sockets of the Table that requests land on by their scheme,
	// and Streams those of TCP by port. None of them is in Plan.Sockets.
	Plain, Secure string
	Streams       map[uint16]string
	// Objects are the Gateways and classes that name the Tunnel.
	Objects []ObjectRef
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

// socket is the name of the tunnel's own socket for a port: the Table has it, and nobody
// opens it. No address looks like it.
func (t *boundTunnel) socket(port int32) string {
	return tunnelSocket + t.Namespace + "/" + t.Name + ":" + strconv.Itoa(int(port))
}

// tunnelSocket begins the names of sockets of tunnels.
const tunnelSocket = "tunnel "

// TunnelOfSocket returns the Tunnel ("namespace/name") whose socket has a name, if it is such
// a socket.
func TunnelOfSocket(name string) (tunnel string, ok bool) {
	rest, ok := strings.CutPrefix(name, tunnelSocket)
	if !ok {
		return "", false
	}
	return rest[:strings.LastIndexByte(rest, ':')], true
}

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

// resolveTunnel reads the Secrets that a Tunnel names. The first mistake decides.
func (b *build) resolveTunnel(t *boundTunnel) {
	spec := &t.Spec
	t.plan.Protocol = spec.Protocol
	if t.plan.Protocol == "" {
		t.plan.Protocol = v1alpha1.TunnelHTTP2
	}
	switch c := &spec.Credentials; {
	case c.Token != nil:
		t.plan.Token = strings.TrimSpace(b.tunnelSecret(t, "spec.credentials.token", c.Token))
	case c.File != nil:
		t.plan.File = b.tunnelSecret(t, "spec.credentials.file", c.File)
	case c.Create != nil:
		b.refuseTunnel(t, "spec.credentials.create", reasonUnsupported, "tunnels are not created yet; give a token or a file")
	default:
		b.refuseTunnel(t, "spec.credentials", reasonInvalid, "give exactly one of token, file and create")
	}
	t.plan.Access = spec.Access
	if spec.DNS != nil && spec.DNS.Mode != "" && spec.DNS.Mode != v1alpha1.TunnelDNSOff {
		b.refuseTunnel(t, "spec.dns.mode", reasonUnsupported, "no records are made yet; remove the field")
	}
	edge := spec.Edge
	if edge == nil {
		return
	}
	t.plan.Edge.Region = edge.Region
	for i, text := range edge.Addresses {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			b.refuseTunnel(t, fmt.Sprintf("spec.edge.addresses[%d]", i), reasonInvalid, fmt.Sprintf("%q is not an address and a port, such as 192.0.2.1:7844", text))
			continue
		}
		t.plan.Edge.Addresses = append(t.plan.Edge.Addresses, address)
	}
	if edge.CA != nil {
		t.plan.Edge.CA = b.tunnelSecret(t, "spec.edge.ca", edge.CA)
	}
	if t.accepted != nil || t.pending { // not to Cloudflare's edge, when another was meant
		t.plan.Token, t.plan.File = "", ""
	}
}

// Reasons of the condition Accepted of a Tunnel.
const (
	reasonInvalid        = "Invalid"
	reasonUnsupported    = "Unsupported"
	reasonSecretNotFound = "SecretNotFound"
	reasonBadCredentials = "InvalidCredentials"
)

// tunnelSecret reads a key of a Secret; what is missing is a mistake, and the result "".
func (b *build) tunnelSecret(t *boundTunnel, field string, key *v1alpha1.SecretKey) string {
	name := types.NamespacedName{Namespace: t.Namespace, Name: key.Name}
	if !slices.Contains(b.plan.Secrets, name) {
		b.plan.Secrets = append(b.plan.Secrets, name)
	}
	secret := b.secrets[name]
	if secret == nil {
		t.plan.Missing = true
		if b.SecretsRead != nil && !b.SecretsRead[name] {
			t.pending = true
			return ""
		}
		b.refuseTunnel(t, field+".name", reasonSecretNotFound, fmt.Sprintf("Secret %s not found", name))
		return ""
	}
	value := string(secret.Data[key.Key])
	if value == "" {
		value = secret.StringData[key.Key]
	}
	if value == "" {
		t.plan.Missing = true
		message := fmt.Sprintf("Secret %s has no data under the key %q", name, key.Key)
		if keys := secretKeys(secret); len(keys) > 0 {
			message += "; it has " + strings.Join(keys, ", ")
		}
		b.refuseTunnel(t, field+".key", reasonSecretNotFound, message)
	}
	return value
}

// refuseTunnel records and reports why a Tunnel is not accepted, once.
func (b *build) refuseTunnel(t *boundTunnel, field, reason, message string) {
	if t.accepted == nil {
		t.accepted = &Problem{Object: t.ref, Field: field, Reason: reason, Message: message}
		b.report(*t.accepted)
	}
}

// throughTunnel reports whether the Listener's traffic comes through the tunnel of its
// Gateway, if that has one. What a client shows there is Cloudflare's to ask.
func (b *build) throughTunnel(l *listener) bool {
	switch l.Protocol {
	case gatewayv1.HTTPProtocolType, gatewayv1.TCPProtocolType:
		return true
	case gatewayv1.HTTPSProtocolType:
		return clientCertificates(l) == nil
	default:
		return false
	}
}

// clientCertificates returns what the Gateway wants of clients at the port of a Listener,
// nil if they need no certificate.
func clientCertificates(l *listener) *gatewayv1.FrontendTLSValidation {
	validation, _ := clientValidation(l)
	if validation != nil && validation.Mode == gatewayv1.AllowInsecureFallback {
		return nil
	}
	return validation
}

// leadTunnels decides where requests from tunnels land, once all Listeners are known.
func (b *build) leadTunnels() {
	for _, l := range b.listeners {
		t := l.gateway.tunnel
		if t == nil || l.gateway.refused != nil || l.owner.refused != nil {
			continue
		}
		if l.Protocol == gatewayv1.HTTPSProtocolType {
			t.secured = true
		}
		if !slices.Contains(l.sockets, t.socket(l.Port)) {
			b.report(*l.problem(".protocol", reasonNotThroughTunnel, t.unreachable(l)))
			continue
		}
		if !l.usable() {
			continue
		}
		switch l.socketProtocol() {
		case router.SocketHTTP:
			t.plain = append(t.plain, l.Port)
		case router.SocketTLS:
			t.secure = append(t.secure, l.Port)
		case router.SocketTCP:
			if t.Spec.Access != nil {
				b.report(*l.problem(".protocol", reasonNotThroughTunnel, "streams have nothing that Access could be seen from, and "+t.ref.String()+" asks for it: the Listener is not reached through the tunnel"))
				continue
			}
			if t.plan.Streams == nil {
				t.plan.Streams = make(map[uint16]string)
			}
			t.plan.Streams[uint16(l.Port)] = t.socket(l.Port)
		case router.SocketUDP:
		}
	}
	for _, t := range b.tunnels {
		t.plan.Plain, t.plan.Secure = t.first(t.plain, 80), t.first(t.secure, 443)
		if !t.secured {
			t.plan.Secure = t.plan.Plain // Cloudflare has ended TLS
		}
	}
}

// first returns the socket of the usual port, or of the lowest; "" without ports.
func (t *boundTunnel) first(ports []int32, usual int32) string {
	switch {
	case len(ports) == 0:
		return ""
	case slices.Contains(ports, usual):
		return t.socket(usual)
	default:
		return t.socket(slices.Min(ports))
	}
}

// reasonNotThroughTunnel marks a Listener that the tunnel of its Gateway does not lead to.
const reasonNotThroughTunnel = "NotThroughTunnel"

// unreachable says why a Listener is not reached through the tunnel.
func (t *boundTunnel) unreachable(l *listener) string {
	message := fmt.Sprintf("protocol %s does not pass through a tunnel", l.Protocol)
	if l.Protocol == gatewayv1.HTTPSProtocolType {
		message = "the Gateway asks clients for certificates, which they can't show through a tunnel"
	}
	if t.closed() {
		return message + ", and localSockets of " + t.ref.String() + " is Closed: the Listener can't be reached"
	}
	return message + ": the Listener is reached at the local addresses alone"
}
