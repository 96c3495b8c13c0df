package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lintel-dev/lintel/internal/nearest"
)

// Issuer is where certificates come from, as far as Build has to know.
type Issuer struct {
	Name string
	// Challenge is how the issuer is shown that a name is ours: "dns-01", "http-01" or
	// "tls-alpn-01" (RFC 8555 §8, RFC 8737); "" for one that does not ask.
	Challenge string
}

// IssuerSelfSigned is the name of an issuer that is always there: its certificates sign
// themselves.
const IssuerSelfSigned = "self-signed"

const (
	challengeHTTP    = "http-01"
	challengeTLSALPN = "tls-alpn-01"
)

// How objects say where the certificates of their Secrets come from.
const (
	annotationIssuer = annotationPrefix + "issuer"
	issuerNone       = "none"

	annotationCMIssuer        = "cert-manager.io/issuer"
	annotationCMClusterIssuer = "cert-manager.io/cluster-issuer"
	annotationTLSACME         = "kubernetes.io/tls-acme"
	annotationCMCommonName    = "cert-manager.io/common-name"
	annotationCMDuration      = "cert-manager.io/duration"
	annotationCMRenewBefore   = "cert-manager.io/renew-before"
	annotationCMKeyAlgorithm  = "cert-manager.io/private-key-algorithm"
	annotationCMKeySize       = "cert-manager.io/private-key-size"
)

// How Secrets say whose they are.
const (
	// LabelManagedBy has the value ManagedByLintel on Secrets that Lintel may write.
	LabelManagedBy  = "app.kubernetes.io/managed-by"
	ManagedByLintel = "lintel"
	// AnnotationPlaceholder is on Secrets, made for a Snapshot alone, that stand in for a
	// certificate which is still to come. It says in words what they hold.
	AnnotationPlaceholder = "lintel.dev/placeholder"
)

// issuance is how the certificates of one object are to be issued. A nil one leaves them
// to somebody else.
type issuance struct {
	issuer       Issuer
	commonName   string
	keyAlgorithm string
	duration     time.Duration
	renewBefore  time.Duration
	// fault is why none can be issued, "" for nothing.
	fault string
}

// issuance reads the annotations of an object, and where they are silent about the
// issuer, those of its parent, nil for none. It reports mistakes.
func (b *build) issuance(ref ObjectRef, own, parent map[string]string) *issuance {
	key, name, decided := b.issuerName(own)
	if !decided && parent != nil {
		key, name, decided = b.issuerName(parent)
	}
	if !decided {
		name = b.Settings.DefaultIssuer
	}
	if name == "" && key == annotationTLSACME {
		i := &issuance{}
		b.refuseIssuance(i, ref, key, "there is no default issuer; set default-issuer, or name one by "+annotationIssuer)
		return i
	}
	if name == "" || name == issuerNone {
		return nil
	}
	i := &issuance{issuer: Issuer{Name: name}}
	if at := slices.IndexFunc(b.Settings.Issuers, func(i Issuer) bool { return i.Name == name }); at >= 0 {
		i.issuer = b.Settings.Issuers[at]
	} else if name != IssuerSelfSigned {
		b.refuseIssuance(i, ref, key, fmt.Sprintf("issuer %q is not one of those in the settings%s", name, b.issuerNames(name)))
		return i
	}
	if b.Settings.CertManagerAnnotations {
		b.readCertManager(i, ref, own)
	}
	return i
}

// refuseIssuance reports a mistake in an annotation, which keeps certificates from being
// issued.
func (b *build) refuseIssuance(i *issuance, ref ObjectRef, annotation, message string) {
	p := Problem{ref, "metadata.annotations[" + annotation + "]", ReasonInvalidIssuer, message}
	if i.fault == "" {
		i.fault = p.text()
	}
	b.report(p)
}

// ReasonInvalidIssuer marks an annotation that keeps certificates from being issued.
const ReasonInvalidIssuer = "InvalidIssuer"

// issuerNames says which issuer may have been meant, or else which there are.
func (b *build) issuerNames(meant string) string {
	names := []string{IssuerSelfSigned}
	for _, i := range b.Settings.Issuers {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	if near := nearest.Of(meant, names); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ", which are " + strings.Join(names, ", ")
}

// issuerName returns the issuer that annotations decide for, "" for none, and by which
// of them. Objects that cert-manager is told to care for are its, unless Lintel stands in
// for it, or is named too.
func (b *build) issuerName(annotations map[string]string) (key, name string, decided bool) {
	if name, ok := annotations[annotationIssuer]; ok {
		return annotationIssuer, name, true
	}
	for _, key := range []string{annotationCMIssuer, annotationCMClusterIssuer} {
		if name := annotations[key]; name != "" {
			if !b.Settings.CertManagerAnnotations {
				name = issuerNone
			}
			return key, name, true
		}
	}
	if annotations[annotationTLSACME] == "true" {
		if b.Settings.CertManagerAnnotations {
			return annotationTLSACME, b.Settings.DefaultIssuer, true
		}
		return annotationTLSACME, issuerNone, true
	}
	return "", "", false
}

// readCertManager reads what cert-manager's annotations say beside the issuer.
func (b *build) readCertManager(i *issuance, ref ObjectRef, annotations map[string]string) {
	i.commonName = strings.ToLower(annotations[annotationCMCommonName])
	for key, place := range map[string]*time.Duration{annotationCMDuration: &i.duration, annotationCMRenewBefore: &i.renewBefore} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			b.refuseIssuance(i, ref, key, fmt.Sprintf("%q is not a time with its unit, such as 2160h", text))
			continue
		}
		*place = d
	}
	algorithm, fault := keyAlgorithm(annotations[annotationCMKeyAlgorithm], annotations[annotationCMKeySize])
	if fault != "" {
		b.refuseIssuance(i, ref, annotationCMKeyAlgorithm, fault)
	}
	i.keyAlgorithm = algorithm
}

// keyAlgorithm names the kind of a private key; "" leaves it to the issuer.
func keyAlgorithm(algorithm, size string) (name, fault string) {
	sizes := map[string][]string{"RSA": {"2048", "4096"}, "ECDSA": {"256", "384"}}
	switch {
	case algorithm == "" && size == "":
		return "", ""
	case algorithm == "":
		algorithm = "RSA" // cert-manager's default
	case strings.EqualFold(algorithm, "Ed25519"):
		return "Ed25519", ""
	}
	known := sizes[strings.ToUpper(algorithm)]
	if known == nil {
		return "", fmt.Sprintf("%q is not an algorithm of keys; use ECDSA, RSA or Ed25519", algorithm)
	}
	if size == "" {
		size = known[0]
	}
	if _, err := strconv.Atoi(size); err != nil || !slices.Contains(known, size) {
		return "", fmt.Sprintf("a key of %s has no size %q here; use %s", strings.ToUpper(algorithm), size, strings.Join(known, " or "))
	}
	return strings.ToUpper(algorithm) + "-" + size, ""
}

// isOurs reports whether Lintel may write a Secret.
func isOurs(s *corev1.Secret) bool { return s.Labels[LabelManagedBy] == ManagedByLintel }
