package gateway

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// secretVersion identifies the content of a Secret by its object: informers and
// manifests replace an object that changes, and never write to it.
type secretVersion = *corev1.Secret

// keyPair is the parsed content of a Secret: a certificate, or why it is none.
type keyPair struct {
	certificate *tls.Certificate
	fault       string
}

// keyPair parses a Secret of type kubernetes.io/tls, or remembers the result.
func (b *build) keyPair(s *corev1.Secret) *keyPair {
	if k := b.memo.certificates[s]; k != nil {
		return k
	}
	k := b.was.certificates[s]
	if k == nil {
		k = parseKeyPair(s)
	}
	b.memo.certificates[s] = k
	return k
}

func parseKeyPair(s *corev1.Secret) *keyPair {
	if s.Type != corev1.SecretTypeTLS {
		return &keyPair{fault: fmt.Sprintf("Secret %s/%s has type %q; a certificate needs type %q", s.Namespace, s.Name, s.Type, corev1.SecretTypeTLS)}
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(s.Data[key]) == 0 {
			return &keyPair{fault: fmt.Sprintf("Secret %s/%s has no data under the key %q", s.Namespace, s.Name, key)}
		}
	}
	c, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return &keyPair{fault: fmt.Sprintf("Secret %s/%s holds no usable certificate: %v", s.Namespace, s.Name, err)}
	}
	return &keyPair{certificate: &c}
}

// resolveCertificates reads the certificateRefs of an HTTPS Listener.
func (b *build) resolveCertificates(l *listener) {
	if l.TLS == nil || len(l.TLS.CertificateRefs) == 0 {
		b.unresolve(l, l.problem(".tls.certificateRefs", string(gatewayv1.ListenerReasonInvalidCertificateRef), "a Listener that ends TLS needs at least one certificateRef"))
		return
	}
	for i := range l.TLS.CertificateRefs {
		field := fmt.Sprintf(".tls.certificateRefs[%d]", i)
		ref := &l.TLS.CertificateRefs[i]
		claimed := b.claimCertificate(l, field, ref)
		k, reason, fault := b.resolveCertificate(ref, l.owner.ref)
		if fault != "" && claimed {
			continue // it is waited for
		}
		if fault != "" && slices.Contains(l.foreign, string(ref.Name)) {
			fault += fmt.Sprintf("; it has no label %s=%s: delete it to get a certificate from issuer %q", LabelManagedBy, ManagedByLintel, l.owner.issue.issuer.Name)
		}
		if fault != "" {
			b.unresolve(l, l.problem(field, string(reason), fault))
			continue
		}
		if claimed {
			l.standIn = cmp.Or(l.standIn, b.standIn(&l.claims[len(l.claims)-1]))
		}
		l.certificates = append(l.certificates, Certificate{ServerName: l.hostname, Certificate: k, Secret: l.secretOf(ref)})
	}
}

// secretOf names the Secret of a certificateRef.
func (l *listener) secretOf(r *gatewayv1.SecretObjectReference) types.NamespacedName {
	return types.NamespacedName{Namespace: valueOr(r.Namespace, l.owner.ref.Namespace), Name: string(r.Name)}
}

// resolveCertificate reads one certificateRef of a Gateway or a ListenerSet.
func (b *build) resolveCertificate(r *gatewayv1.SecretObjectReference, from ObjectRef) (*tls.Certificate, gatewayv1.ListenerConditionReason, string) {
	group, kind := valueOr(r.Group, groupCore), valueOr(r.Kind, kindSecret)
	if group != groupCore || kind != kindSecret {
		return nil, gatewayv1.ListenerReasonInvalidCertificateRef, fmt.Sprintf("kind %q of group %q holds no certificates; refer to a Secret", kind, group)
	}
	name := types.NamespacedName{Namespace: valueOr(r.Namespace, from.Namespace), Name: string(r.Name)}
	if !b.permits(reference{groupGateway, from.Kind, from.Namespace, groupCore, kindSecret, name}) {
		return nil, gatewayv1.ListenerReasonRefNotPermitted,
			fmt.Sprintf("no ReferenceGrant in namespace %q lets a %s of namespace %q refer to Secret %q", name.Namespace, from.Kind, from.Namespace, name.Name)
	}
	secret := b.secrets[name]
	if secret == nil {
		return nil, gatewayv1.ListenerReasonInvalidCertificateRef, fmt.Sprintf("Secret %s not found", name)
	}
	k := b.keyPair(secret)
	return k.certificate, gatewayv1.ListenerReasonInvalidCertificateRef, k.fault
}

// valueOr returns the string that p points to, or fallback for nil.
func valueOr[T ~string](p *T, fallback string) string {
	if p == nil {
		return fallback
	}
	return string(*p)
}
