package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

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
