package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
		t.plan.Token = strings.TrimSpace(b.credentials(t, "spec.credentials.token", c.Token))
	case c.File != nil:
		t.plan.File = b.credentials(t, "spec.credentials.file", c.File)
	case c.Create != nil:
		b.resolveCreation(t, c.Create)
	default:
		b.refuseTunnel(t, Problem{t.ref, "spec.credentials", reasonInvalid, "give exactly one of token, file and create"})
	}
	t.plan.Access = spec.Access
	b.resolveRecords(t)
	if spec.Edge != nil && !b.resolveEdge(t, spec.Edge) {
		t.plan.Token, t.plan.File = "", "" // not to Cloudflare's edge, when another was meant
	}
}

// credentials reads a key of a Secret without which there is no tunnel.
func (b *build) credentials(t *boundTunnel, field string, key *v1alpha1.SecretKey) string {
	value, wrong := b.tunnelSecret(t, field, key)
	if wrong != nil {
		b.refuseTunnel(t, *wrong)
	}
	t.plan.Missing = t.plan.Missing || value == ""
	return value
}

// resolveCreation reads what a tunnel is created with, and the Secret that its token is kept
// in, if there is one.
func (b *build) resolveCreation(t *boundTunnel, c *v1alpha1.TunnelCreate) {
	kept := types.NamespacedName{Namespace: t.Namespace, Name: t.Name + "-tunnel"}
	t.plan.Create = &TunnelCreation{AccountID: c.AccountID, Name: c.Name, Secret: kept}
	token, wrong := b.tunnelSecret(t, "spec.credentials.create.apiToken", &c.APIToken)
	t.plan.Create.APIToken = strings.TrimSpace(token)
	if wrong != nil {
		b.refuseTunnel(t, *wrong)
	}
	secret := b.namedSecret(t, kept)
	switch {
	case secret == nil:
		t.plan.Missing = t.pending
	case !isOurs(secret):
		t.plan.Create = nil
		b.refuseTunnel(t, Problem{t.ref, "spec.credentials.create", reasonInvalid, fmt.Sprintf(
			"the token is to be kept in Secret %s, which has no label %s=%s: delete it, or give the Tunnel another name", kept, LabelManagedBy, ManagedByLintel)})
	case string(secret.Data[TunnelNameKey]) == t.plan.Create.Identity():
		t.plan.Token = strings.TrimSpace(string(secret.Data[TunnelTokenKey]))
	}
}

// The keys of the Secret that a tunnel is kept in.
const (
	TunnelTokenKey = "token"
	// TunnelNameKey is that of the tunnel's Identity.
	TunnelNameKey = "tunnel"
)

// Identity tells the tunnel from all others.
func (c *TunnelCreation) Identity() string { return c.AccountID + "/" + c.Name }

// resolveRecords reads what DNS records are kept with.
func (b *build) resolveRecords(t *boundTunnel) {
	r := &t.plan.DNS
	r.Mode = v1alpha1.TunnelDNSOff
	d := t.Spec.DNS
	if d == nil || d.Mode == "" || d.Mode == v1alpha1.TunnelDNSOff {
		return
	}
	r.Mode, r.Domains, r.Release = d.Mode, d.Domains, d.Release
	switch {
	case d.APIToken != nil:
		r.APIToken, r.Fault = b.tunnelSecret(t, "spec.dns.apiToken", d.APIToken)
		if r.APIToken == "" && r.Fault == nil { // not read yet
			r.Fault = &Problem{t.ref, "spec.dns.apiToken", "Pending", "the Secret is being read"}
		} else if r.Fault != nil {
			b.report(*r.Fault)
		}
	case t.plan.Create != nil:
		r.APIToken = t.plan.Create.APIToken
	}
	r.APIToken = strings.TrimSpace(r.APIToken)
}

// resolveEdge reports whether all that is said of the edge is known.
func (b *build) resolveEdge(t *boundTunnel, edge *v1alpha1.TunnelEdge) bool {
	t.plan.Edge.Region = edge.Region
	known := true
	for i, text := range edge.Addresses {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			b.refuseTunnel(t, Problem{t.ref, fmt.Sprintf("spec.edge.addresses[%d]", i), reasonInvalid, fmt.Sprintf("%q is not an address and a port, such as 192.0.2.1:7844", text)})
			known = false
			continue
		}
		t.plan.Edge.Addresses = append(t.plan.Edge.Addresses, address)
	}
	if edge.CA != nil {
		t.plan.Edge.CA = b.credentials(t, "spec.edge.ca", edge.CA)
		known = known && t.plan.Edge.CA != ""
	}
	return known
}

// Reasons of the condition Accepted of a Tunnel.
const (
	reasonInvalid        = "Invalid"
	reasonSecretNotFound = "SecretNotFound"
	reasonBadCredentials = "InvalidCredentials"
)

// namedSecret returns a Secret that a Tunnel names, nil if it is not there, or not read yet.
func (b *build) namedSecret(t *boundTunnel, name types.NamespacedName) *corev1.Secret {
	if !slices.Contains(b.plan.Secrets, name) {
		b.plan.Secrets = append(b.plan.Secrets, name)
	}
	secret := b.secrets[name]
	t.pending = t.pending || secret == nil && b.SecretsRead != nil && !b.SecretsRead[name]
	return secret
}

// tunnelSecret reads a key of a Secret. The value is "" while it is not read yet, or else with
// the reason.
func (b *build) tunnelSecret(t *boundTunnel, field string, key *v1alpha1.SecretKey) (string, *Problem) {
	name := types.NamespacedName{Namespace: t.Namespace, Name: key.Name}
	secret := b.namedSecret(t, name)
	if secret == nil {
		if b.SecretsRead != nil && !b.SecretsRead[name] {
			return "", nil
		}
		return "", &Problem{t.ref, field + ".name", reasonSecretNotFound, fmt.Sprintf("Secret %s not found", name)}
	}
	value := string(secret.Data[key.Key])
	if value == "" {
		value = secret.StringData[key.Key]
	}
	if value != "" {
		return value, nil
	}
	message := fmt.Sprintf("Secret %s has no data under the key %q", name, key.Key)
	if keys := secretKeys(secret); len(keys) > 0 {
		message += "; it has " + strings.Join(keys, ", ")
	}
	return "", &Problem{t.ref, field + ".key", reasonSecretNotFound, message}
}

// refuseTunnel records and reports why a Tunnel is not accepted, once.
func (b *build) refuseTunnel(t *boundTunnel, p Problem) {
	if t.accepted == nil {
		t.accepted = &p
		b.report(p)
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
