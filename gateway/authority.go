package gateway

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	groupCertificates = "certificates.k8s.io"

	kindConfigMap          = "ConfigMap"
	kindClusterTrustBundle = "ClusterTrustBundle"

	// keyAuthorities is the key of a ConfigMap or a Secret that holds certificates of
	// authorities.
	keyAuthorities = "ca.crt"
)

// authorities is the parsed content of one object with certificates of authorities, or
// why it has none.
type authorities struct {
	certificates []*x509.Certificate
	fault        string
}

// authorityRef is one of caCertificateRefs.
type authorityRef struct {
	group, kind string
	name        types.NamespacedName // without a namespace for kinds that have none
}

// clusterScoped reports whether objects of the kind have no namespace.
func (r *authorityRef) clusterScoped() bool {
	return r.group == groupCertificates && r.kind == kindClusterTrustBundle
}

// authorities reads what a reference refers to; nil for a kind that holds no authorities.
func (b *build) authorities(r *authorityRef) *authorities {
	switch {
	case r.group == groupCore && r.kind == kindConfigMap:
		if m := b.configMaps[r.name]; m != nil {
			return b.parsedAuthorities(m, func() []byte { return configMapAuthorities(m) })
		}
	case r.group == groupCore && r.kind == kindSecret:
		if s := b.secrets[r.name]; s != nil {
			return b.parsedAuthorities(s, func() []byte { return s.Data[keyAuthorities] })
		}
		return &authorities{fault: fmt.Sprintf("Secret %s not found, or not of type %q", r.name, corev1.SecretTypeTLS)}
	case r.clusterScoped():
		if t := b.trustBundles[types.NamespacedName{Name: r.name.Name}]; t != nil {
			return b.parsedAuthorities(t, func() []byte { return []byte(t.Spec.TrustBundle) })
		}
		return &authorities{fault: fmt.Sprintf("ClusterTrustBundle %s not found, or not served by the API server", r.name.Name)}
	default:
		return nil
	}
	return &authorities{fault: fmt.Sprintf("%s %s not found", r.kind, r.name)}
}

// unknownKind says that a reference is of a kind that holds no authorities.
func (r *authorityRef) unknownKind() string {
	return fmt.Sprintf("kind %q of group %q holds no certificates of authorities; refer to a ConfigMap, a Secret or a ClusterTrustBundle", r.kind, r.group)
}

func configMapAuthorities(m *corev1.ConfigMap) []byte {
	if text, ok := m.Data[keyAuthorities]; ok {
		return []byte(text)
	}
	return m.BinaryData[keyAuthorities]
}

// parsedAuthorities parses the content of an object, or remembers the result: informers
// and manifests replace an object that changes, and never write to it.
func (b *build) parsedAuthorities(object metav1.Object, content func() []byte) *authorities {
	if a := b.memo.authorities[object]; a != nil {
		return a
	}
	a := b.was.authorities[object]
	if a == nil {
		a = parseAuthorities(content())
		if a.fault != "" {
			a.fault = fmt.Sprintf("%s %s", objectTitle(object), a.fault)
		}
	}
	b.memo.authorities[object] = a
	return a
}

func objectTitle(object metav1.Object) string {
	switch object.(type) {
	case *corev1.ConfigMap:
		return fmt.Sprintf("ConfigMap %s, key %q,", nameOf(object), keyAuthorities)
	case *corev1.Secret:
		return fmt.Sprintf("Secret %s, key %q,", nameOf(object), keyAuthorities)
	default:
		return "ClusterTrustBundle " + object.GetName()
	}
}

// parseAuthorities reads certificates in PEM, of which there has to be one.
func parseAuthorities(content []byte) *authorities {
	a := &authorities{}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return &authorities{fault: fmt.Sprintf("holds a %q beside certificates", block.Type)}
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return &authorities{fault: fmt.Sprintf("holds a certificate that cannot be read: %v", err)}
		}
		a.certificates = append(a.certificates, c)
	}
	if len(a.certificates) == 0 {
		a.fault = "holds no certificate in PEM"
	}
	return a
}

// poolOf is the set of all these authorities.
func poolOf(all []*authorities) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range all {
		for _, c := range a.certificates {
			pool.AddCert(c)
		}
	}
	return pool
}
