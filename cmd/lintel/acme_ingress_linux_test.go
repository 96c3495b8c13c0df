package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serveIngresses has Ingresses get certificates by both challenges that Lintel answers
// itself.
func (c *acmeCluster) serveIngresses() {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.Controller = "lintel.dev/ingress-controller"
	_, err := c.cluster.core.NetworkingV1().IngressClasses().Create(c.Context(), class, metav1.CreateOptions{})
	c.must(err)
	c.createIngress("hand", map[string]string{"kubernetes.io/tls-acme": "true"}, "hand.example.test")
	c.createIngress("path", map[string]string{"lintel.dev/issuer": "http"}, "path.example.test", "www.path.example.test")
	c.createIngress("typo", map[string]string{"lintel.dev/issuer": "htpp"}, "typo.example.test")
	c.awaitServed(c.secure, "hand.example.test")
	c.awaitServed(c.secure, "path.example.test")
	c.awaitServed(c.secure, "www.path.example.test")
	c.awaitIngressEvents("hand", "CertificateOrdering", "CertificateReady")
	c.awaitIngressEvents("path", "CertificateOrdering", "CertificateReady")
	c.awaitIngressEvents("typo", "InvalidIssuer")
	c.ordered("hand.example.test", 1)
	c.ordered("path.example.test", 1)
}

// takeOver goes the way of those who come from cert-manager.
func (c *acmeCluster) takeOver() {
	secrets := c.cluster.core.CoreV1().Secrets("default")
	owner, err := c.cluster.core.CoreV1().ConfigMaps("default").Create(c.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "certificate"}}, metav1.CreateOptions{})
	c.must(err)
	certPEM, keyPEM := c.issueElsewhere("shop.example.test")
	theirs := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop", Labels: map[string]string{"controller.cert-manager.io/fao": "true"},
			Annotations: map[string]string{
				"cert-manager.io/alt-names": "shop.example.test", "cert-manager.io/common-name": "shop.example.test", "cert-manager.io/certificate-name": "shop",
				"cert-manager.io/issuer-group": "cert-manager.io", "cert-manager.io/issuer-kind": "ClusterIssuer", "cert-manager.io/issuer-name": "http",
				"cert-manager.io/ip-sans": "", "cert-manager.io/uri-sans": "",
			},
			// As with --enable-certificate-owner-ref; there a Certificate.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, Controller: new(true), BlockOwnerDeletion: new(true)}},
		},
		Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM},
	}
	theirs, err = secrets.Create(c.Context(), theirs, metav1.CreateOptions{})
	c.must(err)
	c.createIngress("shop", map[string]string{"cert-manager.io/cluster-issuer": "http"}, "shop.example.test")
	before := c.awaitServed(c.secure, "shop.example.test")

	handed := theirs.DeepCopy()
	handed.Labels["app.kubernetes.io/managed-by"] = "lintel"
	_, err = secrets.Update(c.Context(), handed, metav1.UpdateOptions{})
	c.must(err)
	// What comes after it in line comes when it was looked at.
	c.createIngress("later", map[string]string{"cert-manager.io/issuer": "http"}, "later.example.test")
	c.awaitServed(c.secure, "later.example.test")
	if leaf := c.awaitServed(c.secure, "shop.example.test"); !leaf.Equal(before) {
		c.Error("a certificate that was handed over was ordered anew")
	}
	c.ordered("shop.example.test", 0)

	ingresses := c.cluster.core.NetworkingV1().Ingresses("default")
	shop, err := ingresses.Get(c.Context(), "shop", metav1.GetOptions{})
	c.must(err)
	shop.Spec.TLS[0].Hosts = append(shop.Spec.TLS[0].Hosts, "www.shop.example.test")
	_, err = ingresses.Update(c.Context(), shop, metav1.UpdateOptions{})
	c.must(err)
	c.awaitServed(c.secure, "www.shop.example.test")
	c.ordered("shop.example.test", 1)
	ours := c.secret("shop")
	for key, value := range theirs.Annotations {
		if ours.Annotations[key] != value {
			c.Errorf("annotation %s is %q", key, ours.Annotations[key])
		}
	}
	if ours.UID != theirs.UID || len(ours.OwnerReferences) != 1 || ours.Labels["controller.cert-manager.io/fao"] != "true" {
		c.Errorf("Secret is %+v", ours.ObjectMeta)
	}
}

// issueElsewhere makes a certificate of another CA, with a key as cert-manager makes them,
// which clients of the test trust.
func (c *acmeCluster) issueElsewhere(name string) (certPEM, keyPEM []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	c.must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	c.must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	c.must(err)
	parsed, err := x509.ParseCertificate(root)
	c.must(err)
	c.roots.AddCert(parsed)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// createIngress makes an Ingress whose Secret has its name.
func (c *acmeCluster) createIngress(name string, annotations map[string]string, hosts ...string) {
	c.Helper()
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	i.Spec.IngressClassName = new("lintel")
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: hosts, SecretName: name}}
	for _, host := range hosts {
		path := networkingv1.HTTPIngressPath{Path: "/", PathType: new(networkingv1.PathTypePrefix)}
		path.Backend.Service = &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}
		rule := networkingv1.IngressRule{Host: host}
		rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{path}}
		i.Spec.Rules = append(i.Spec.Rules, rule)
	}
	_, err := c.cluster.core.NetworkingV1().Ingresses("default").Create(c.Context(), i, metav1.CreateOptions{})
	c.must(err)
}

func (c *acmeCluster) awaitIngressEvents(name string, reasons ...string) {
	c.Helper()
	c.await("Events of Ingress "+name, func() string {
		got := c.eventReasons("Ingress", name)
		for _, want := range reasons {
			if !slices.Contains(got, want) {
				return fmt.Sprint(got)
			}
		}
		return ""
	})
}
