package gateway

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// WantedCertificate is one that an issuer is to put into a Secret, and to renew there.
type WantedCertificate struct {
	Secret types.NamespacedName
	// Names are DNS names, sorted, with wildcards as "*.example.com" and without names that
	// one of these covers.
	Names  []string
	Issuer string
	// CommonName is "" where the issuer may choose.
	CommonName string
	// KeyAlgorithm is "ECDSA-256", "ECDSA-384", "RSA-2048", "RSA-4096" or "Ed25519"; "" and
	// durations of 0 leave the choice to the issuer.
	KeyAlgorithm          string
	Duration, RenewBefore time.Duration
	// Objects are the Gateways, ListenerSets and Ingresses that want it, sorted.
	Objects []ObjectRef
}

// CertificateState is what became of a WantedCertificate.
type CertificateState struct {
	// Stage is one of the Certificate constants.
	Stage string
	// Message says more, in the issuer's words; "" for nothing.
	Message string
	// Retry is when a failed order is tried again; zero if that is not known.
	Retry time.Time
}

// The stages of a certificate. An empty one is CertificatePending.
const (
	CertificatePending       = "Pending"
	CertificateOrdering      = "Ordering"
	CertificateWaitingForDNS = "WaitingForDNS"
	CertificateFailed        = "Failed"
	CertificateForeign       = "Foreign"
	CertificateReady         = "Ready"
)

// text says in a sentence what a state means for a certificate that is not there.
func (s CertificateState) text() string {
	var what string
	switch s.Stage {
	case CertificateOrdering:
		what = "the certificate is being ordered"
	case CertificateWaitingForDNS:
		what = "waiting until the record of the challenge is seen in DNS"
	case CertificateFailed:
		what = "the order failed"
	case CertificateForeign:
		what = fmt.Sprintf("a Secret of this name without the label %s=%s is there; delete it, or refer to another", LabelManagedBy, ManagedByLintel)
	case CertificateReady:
		what = "the certificate was issued, and is about to be served"
	default:
		what = "the certificate is about to be ordered"
	}
	if s.Message != "" {
		what += ": " + s.Message
	}
	if s.Stage == CertificateFailed && !s.Retry.IsZero() {
		what += "; next try at " + s.Retry.UTC().Format(time.RFC3339)
	}
	return what
}

// comes is text where another certificate is there.
func (s CertificateState) comes() string {
	if s.Stage == CertificateReady {
		s = CertificateState{} // which says nothing of the one that is wanted now
	}
	return s.text()
}

// claim is the wish of one Listener, or of one entry of an Ingress, for a certificate.
type claim struct {
	secret types.NamespacedName
	names  []string // none for a Listener without a hostname
	issue  *issuance
	object metav1.Object
	ref    ObjectRef
	field  string // of the object, that names the Secret

	listener *listener // nil for an Ingress
	// missing says that the Secret is not there, holds no certificate, or stands in for it.
	missing bool
	// stale says that the certificate which is there is not for all names.
	stale bool
}

// claimCertificate decides about a Secret that a Listener refers to: whether an issuer cares
// for it, and whether what it holds, if anything, is to be waited for.
func (b *build) claimCertificate(l *listener, field string, r *gatewayv1.SecretObjectReference) (claimed bool) {
	issue := l.owner.issue
	if issue == nil || valueOr(r.Group, groupCore) != groupCore || valueOr(r.Kind, kindSecret) != kindSecret ||
		valueOr(r.Namespace, l.owner.ref.Namespace) != l.owner.ref.Namespace {
		return false
	}
	c := claim{
		secret: l.secretOf(r),
		issue:  issue, object: l.owner.object, ref: l.owner.ref, field: l.field + field, listener: l,
	}
	if l.hostname != "" {
		c.names = []string{l.hostname}
	}
	secret := b.secrets[c.secret]
	if secret != nil && !isOurs(secret) {
		l.foreign = append(l.foreign, c.secret.Name)
		return false
	}
	c.missing = b.isMissing(c.secret)
	c.stale = !c.missing && !covers(b.keyPair(secret).certificate.Leaf, c.names)
	l.claims = append(l.claims, c)
	return true
}

// isMissing reports whether there is no certificate in a Secret of ours.
func (b *build) isMissing(name types.NamespacedName) bool {
	secret := b.secrets[name]
	return secret == nil || b.keyPair(secret).fault != "" || secret.Annotations[AnnotationPlaceholder] != ""
}

// covers reports whether a certificate is for all names, of which some may be wildcards.
func covers(leaf *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(strings.Replace(n, "*", "any", 1)) != nil })
}

// standIn says what the Secret of a claim holds in place of what is waited for; "" if it is
// that.
func (b *build) standIn(c *claim) string {
	switch {
	case c.missing:
		return b.secrets[c.secret].Annotations[AnnotationPlaceholder]
	case c.stale:
		return "a certificate for other names"
	default:
		return ""
	}
}

// collectClaims takes those of the Listeners that may be served.
func (b *build) collectClaims() {
	for _, l := range b.listeners {
		if l.refused == nil && l.conflict == nil && l.owner.refused == nil && l.gateway.refused == nil {
			b.claims = append(b.claims, l.claims...)
		}
	}
}

// wantCertificates merges the claims, by Secret, and tells Listeners what they wait for.
func (b *build) wantCertificates() {
	bySecret := make(map[types.NamespacedName][]*claim)
	for i := range b.claims {
		c := &b.claims[i]
		bySecret[c.secret] = append(bySecret[c.secret], c)
	}
	names := slices.SortedFunc(maps.Keys(bySecret), compareNames)
	for _, name := range names {
		claims := bySecret[name]
		slices.SortStableFunc(claims, func(x, y *claim) int {
			return cmp.Or(byAge(x.object, y.object), x.ref.compare(y.ref), cmp.Compare(x.field, y.field))
		})
		want, fault := b.mergeClaims(claims)
		state := b.Observed.Certificates[name]
		text := fmt.Sprintf("Secret %s: issuer %q: %s", name, want.Issuer, state.text())
		if fault == "" {
			b.plan.Certificates = append(b.plan.Certificates, want)
		}
		for _, c := range claims {
			switch {
			case c.listener == nil:
			case c.stale && fault != "":
				c.unresolve(fault)
			case c.stale:
				c.listener.pending = cmp.Or(c.listener.pending, fmt.Sprintf("Secret %s: issuer %q: its certificate is not for %s: %s", name, want.Issuer, strings.Join(c.names, ", "), state.comes()))
			case !c.missing && state.Stage == CertificateFailed:
				c.listener.renewal = "it was not renewed: " + state.text()
			case c.missing && fault != "":
				c.unresolve(fault)
			case c.missing:
				c.listener.pending = cmp.Or(c.listener.pending, text)
				c.unresolve(text)
			}
		}
	}
	for _, l := range b.listeners { // of which nothing came
		for i := range l.claims {
			if c := &l.claims[i]; c.missing {
				c.unresolve(fmt.Sprintf("Secret %s not found", c.secret))
			}
		}
	}
}

func compareNames(x, y types.NamespacedName) int {
	return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
}

// unresolve lets the Listener say why its certificate is not there. A mistake was reported.
func (c *claim) unresolve(why string) {
	if l := c.listener; l.unresolved == nil {
		l.unresolved = l.problem(strings.TrimPrefix(c.field, l.field), string(gatewayv1.ListenerReasonInvalidCertificateRef), why)
	}
}

// mergeClaims makes one certificate of the claims for one Secret, of which the first
// decides how it is issued; or it returns why there can be none.
func (b *build) mergeClaims(claims []*claim) (want WantedCertificate, fault string) {
	first := claims[0]
	i := first.issue
	want = WantedCertificate{
		Secret: first.secret, Issuer: i.issuer.Name,
		CommonName: i.commonName, KeyAlgorithm: i.keyAlgorithm, Duration: i.duration, RenewBefore: i.renewBefore,
	}
	if i.fault != "" {
		return want, i.fault
	}
	for _, c := range claims {
		if *c.issue != *i {
			b.reportClaim(c, fmt.Sprintf("wants the certificate of Secret %s from issuer %q, or with another key or lifetime, than %s does, which is older and decides; use another Secret, or the same annotations",
				c.secret, c.issue.issuer.Name, first.ref))
		}
		want.Names = append(want.Names, c.names...)
		want.Objects = append(want.Objects, c.ref)
	}
	if i.commonName != "" {
		want.Names = append(want.Names, i.commonName)
	}
	want.Names = withoutCovered(want.Names)
	slices.SortFunc(want.Objects, ObjectRef.compare)
	want.Objects = slices.Compact(want.Objects)
	if fault := b.unissuable(&want, i.issuer.Challenge); fault != "" {
		for _, c := range claims {
			b.reportClaim(c, fault)
		}
		return want, fault
	}
	return want, ""
}

// unissuable says why an issuer could not issue a certificate, "" if it could.
func (b *build) unissuable(want *WantedCertificate, challenge string) string {
	if want.Issuer == IssuerSelfSigned {
		return ""
	}
	if len(want.Names) == 0 {
		return "a certificate cannot be issued without a hostname; give the Listener one, or refer to a Secret with a certificate of your own"
	}
	if challenge != challengeHTTP && challenge != challengeTLSALPN {
		return ""
	}
	if strings.HasPrefix(want.Names[0], "*") { // sorted: wildcards come first
		return fmt.Sprintf("issuer %q solves %s, which no CA accepts for the wildcard %q; use an issuer that solves dns-01, or hostnames without a wildcard", want.Issuer, challenge, want.Names[0])
	}
	if challenge == challengeHTTP && !b.hasSocket(router.SocketHTTP) {
		return fmt.Sprintf("issuer %q solves http-01, for which the CA asks on port 80: add a Listener with protocol HTTP and port 80", want.Issuer)
	}
	return ""
}

func (b *build) hasSocket(p router.SocketProtocol) bool {
	for _, s := range b.sockets {
		if s.Protocol == p {
			return true
		}
	}
	return false
}

func (b *build) reportClaim(c *claim, message string) {
	b.report(Problem{c.ref, c.field, string(gatewayv1.ListenerReasonInvalidCertificateRef), message})
}

// withoutCovered sorts names and drops those that a wildcard among them covers: a CA
// refuses an order that has both.
func withoutCovered(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	wildcards := make(map[string]bool)
	for _, n := range names {
		if suffix, wild := strings.CutPrefix(n, "*."); wild {
			wildcards[suffix] = true
		}
	}
	return slices.DeleteFunc(names, func(n string) bool {
		label, parent, _ := strings.Cut(n, ".")
		return label != "*" && wildcards[parent]
	})
}

// awaitsHandshakes reports whether the Listener has no certificate, and gets none unless
// its sockets answer the handshakes of a CA (RFC 8737).
func (l *listener) awaitsHandshakes() bool {
	return l.owner.issue != nil && l.owner.issue.issuer.Challenge == challengeTLSALPN && len(l.claims) > 0 && len(l.certificates) == 0 &&
		l.gateway.refused == nil && l.owner.refused == nil && l.refused == nil && l.conflict == nil
}

// issued says, for the condition Programmed, what is to be known of the certificates of a
// Listener that is served.
func (b *build) issued(l *listener) string {
	var s strings.Builder
	for _, c := range l.claims {
		if secret := b.secrets[c.secret]; secret != nil && !c.missing {
			fmt.Fprintf(&s, "; certificate of Secret %s valid until %s", c.secret.Name, b.keyPair(secret).certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if l.renewal != "" {
		s.WriteString("; " + l.renewal)
	}
	if len(l.foreign) > 0 {
		fmt.Fprintf(&s, "; no label %s=%s: Secret %s is somebody else's, and left as it is", LabelManagedBy, ManagedByLintel, strings.Join(l.foreign, ", "))
	}
	return s.String()
}
