package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	"github.com/lintel-dev/lintel/conformance/pebble"
)

// acmeCluster is an acmeWorld with an API server.
type acmeCluster struct {
	*acmeWorld
	cluster *cluster
	stop    func() // the API server
}

func newACMECluster(t *testing.T) *acmeCluster {
	w := newACMEWorld(t)
	plane, err := controlplane.Start(t.Context(), controlplane.Options{})
	w.must(err)
	stop := sync.OnceFunc(func() { w.must(plane.Stop()) })
	t.Cleanup(stop)
	w.must(plane.InstallCRDs(t.Context()))
	c := &acmeCluster{acmeWorld: w, stop: stop, cluster: &cluster{
		T: t, plane: plane, core: kubernetes.NewForConfigOrDie(plane.Config), gateway: gatewayclient.NewForConfigOrDie(plane.Config),
	}}
	c.cluster.createPermissions("../../deploy/rbac.yaml")
	c.cluster.createPermissions("../../deploy/rbac-certificates.yaml")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Data: map[string][]byte{"ca.crt": w.ca.Roots, "token": []byte(cloudflare.Token + "\n")}}
	_, err = c.cluster.core.CoreV1().Secrets("lintel").Create(t.Context(), secret, metav1.CreateOptions{})
	w.must(err)
	w.rootsAt, w.tokenAt = "secret:acme/ca.crt", "secret:acme/token"
	c.cluster.createClass("lintel", "lintel.dev/gateway-controller")
	return c
}

// createGateway makes a Gateway whose certificates come from an issuer.
func (c *acmeCluster) createGateway(name, issuer string, listeners ...secureListener) {
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"lintel.dev/issuer": issuer}}}
	g.Spec.GatewayClassName = "lintel"
	for i, l := range listeners {
		listener := gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprint("l", i)), Port: gatewayv1.PortNumber(l.port), Protocol: gatewayv1.HTTPProtocolType}
		if l.secret != "" {
			listener.Protocol, listener.Hostname = gatewayv1.HTTPSProtocolType, new(gatewayv1.Hostname(l.host))
			listener.TLS = &gatewayv1.ListenerTLSConfig{CertificateRefs: []gatewayv1.SecretObjectReference{{Name: gatewayv1.ObjectName(l.secret)}}}
		}
		g.Spec.Listeners = append(g.Spec.Listeners, listener)
	}
	_, err := c.cluster.gateway.GatewayV1().Gateways("default").Create(c.Context(), g, metav1.CreateOptions{})
	c.must(err)
}

// secureListener is a Listener with a Secret, or for plain HTTP without one.
type secureListener struct {
	secret string
	port   uint16
	host   string
}

func (c *acmeCluster) awaitProgrammed(name string) {
	c.await("Gateway "+name+" is programmed", func() string {
		g, err := c.cluster.gateway.GatewayV1().Gateways("default").Get(c.Context(), name, metav1.GetOptions{})
		c.must(err)
		if len(g.Status.Listeners) != len(g.Spec.Listeners) {
			return "no status"
		}
		for _, l := range g.Status.Listeners {
			if !meta.IsStatusConditionTrue(l.Conditions, "Programmed") || !meta.IsStatusConditionTrue(l.Conditions, "ResolvedRefs") {
				return fmt.Sprintf("%+v", l)
			}
		}
		return ""
	})
}

func (c *acmeCluster) secret(name string) *corev1.Secret {
	s, err := c.cluster.core.CoreV1().Secrets("default").Get(c.Context(), name, metav1.GetOptions{})
	c.must(err)
	return s
}

// eventReasons are those of the Events of an object.
func (c *acmeCluster) eventReasons(kind, name string) []string {
	list, err := c.cluster.core.CoreV1().Events("default").List(c.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name})
	c.must(err)
	var reasons []string
	for _, e := range list.Items {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// TestCertificatesOnCluster goes the whole way: Gateways are applied with a real client,
// and their certificates come from a real ACME server, by every challenge, into Secrets; are
// renewed while clients come and go; and are served while there is no API server. Ingresses
// get theirs in the same way, and take over those that cert-manager made.
func TestCertificatesOnCluster(t *testing.T) {
	t.Parallel()
	c := newACMECluster(t)
	_, stop := c.startLintel("--kubeconfig="+c.cluster.kubeconfig(), "--lease-namespace=lintel", "--admin-address=", "--gateway-services=off",
		fmt.Sprint("--http-port=", c.plain), fmt.Sprint("--https-port=", c.secure), "--default-issuer=alpn", "--cert-manager-annotations=on")
	begun := time.Now()
	c.createGateway("dns", "cloudflare",
		secureListener{"wildcard", c.any, "*.example.test"}, secureListener{"wildcard", c.any, "example.test"})
	c.awaitProgrammed("dns")
	t.Logf("a wildcard and its apex by DNS-01: programmed after %v", time.Since(begun).Round(100*time.Millisecond))
	for _, name := range []string{"www.example.test", "example.test"} {
		if _, err := c.handshake(c.any, name); err != nil {
			t.Error(err)
		}
	}
	if s := c.secret("wildcard"); s.Type != corev1.SecretTypeTLS || s.Labels["app.kubernetes.io/managed-by"] != "lintel" || s.Annotations["lintel.dev/issuer"] != "cloudflare" {
		t.Errorf("Secret is %+v", s.ObjectMeta)
	}
	if n := ordersFor(c.ca, "example.test"); n != 1 {
		t.Errorf("%d orders", n)
	}
	c.await("Events", func() string {
		got := c.eventReasons("Gateway", "dns")
		for _, want := range []string{"CertificateOrdering", "CertificateReady"} {
			if !slices.Contains(got, want) {
				return fmt.Sprint(got)
			}
		}
		return ""
	})

	c.createGateway("http", "http", secureListener{"", c.plain, ""}, secureListener{"one", c.any, "one.example.test"})
	c.createGateway("alpn", "alpn", secureListener{"two", c.secure, "two.example.test"})
	c.awaitProgrammed("http")
	c.awaitProgrammed("alpn")
	c.awaitServed(c.any, "one.example.test")
	c.awaitServed(c.secure, "two.example.test")

	c.renewUnderLoad()
	c.mend()
	c.serveIngresses()
	c.takeOver()

	c.stop() // the API server
	if _, err := c.handshake(c.any, "www.example.test"); err != nil {
		t.Errorf("without an API server: %v", err)
	}
	stop()
}

// mend has things go wrong, looks at what is said, and puts them right.
func (c *acmeCluster) mend() {
	secrets := c.cluster.core.CoreV1().Secrets("default")
	before := c.awaitServed(c.any, "one.example.test")
	c.must(secrets.Delete(c.Context(), "one", metav1.DeleteOptions{}))
	c.await("another certificate in the place of one that was deleted", func() string {
		leaf, err := c.handshake(c.any, "one.example.test")
		c.must(err) // the last one serves until then
		if leaf.Equal(before) || leaf.DNSNames[0] != "one.example.test" {
			return "the one before"
		}
		return ""
	})

	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Type: corev1.SecretTypeOpaque}
	theirs, err := secrets.Create(c.Context(), theirs, metav1.CreateOptions{})
	c.must(err)
	c.createGateway("theirs", "http", secureListener{"theirs", c.any, "theirs.example.test"})
	c.awaitMessage("theirs", "it was not made by Lintel and is left as it is")
	c.await("Event", func() string {
		if got := c.eventReasons("Gateway", "theirs"); !slices.Contains(got, "CertificateForeign") {
			return fmt.Sprint(got)
		}
		return ""
	})
	if s := c.secret("theirs"); s.ResourceVersion != theirs.ResourceVersion {
		c.Errorf("somebody else's Secret is now %+v", s)
	}

	c.ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusTooManyRequests, "rateLimited", time.Hour))
	c.createGateway("limited", "http", secureListener{"limited", c.any, "limited.example.test"})
	c.awaitMessage("limited", "the CA refused: refused for a test: rateLimited")
	if leaf, err := c.handshake(c.any, "limited.example.test"); err != nil || !slices.Contains(leaf.DNSNames, "*.example.test") {
		c.Errorf("while its own is waited for, a wildcard Listener's certificate serves a name: %v, %v", leaf, err)
	}
	c.ca.Intercept(pebble.NewOrder, nil)
}

// renewUnderLoad has clients connect anew all the time while a certificate is renewed:
// not one handshake may fail, and every certificate must be valid.
func (c *acmeCluster) renewUnderLoad() {
	c.createGateway("brief", "brief", secureListener{"brief", c.any, "brief.example.test"})
	c.awaitProgrammed("brief")
	first := c.awaitServed(c.any, "brief.example.test")
	var asked, failed atomic.Int64
	var mu sync.Mutex // guards serials
	serials := map[string]bool{first.SerialNumber.String(): true}
	ctx, cancel := context.WithCancel(c.Context())
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for ; ctx.Err() == nil; <-pace.C {
				leaf, err := c.handshake(c.any, "brief.example.test")
				asked.Add(1)
				if err != nil {
					if failed.Add(1) < 10 {
						c.Errorf("handshake %d: %v", asked.Load(), err)
					}
					continue
				}
				mu.Lock()
				serials[leaf.SerialNumber.String()] = true
				mu.Unlock()
			}
		})
	}
	c.await("a renewal", func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(serials) < 2 {
			return fmt.Sprintf("%d serials", len(serials))
		}
		return ""
	})
	cancel()
	clients.Wait()
	c.Logf("%d handshakes over the renewal of a certificate that lasts %v, %d failed", asked.Load(), briefTime, failed.Load())
	// It would go on being renewed.
	c.must(c.cluster.gateway.GatewayV1().Gateways("default").Delete(c.Context(), "brief", metav1.DeleteOptions{}))
}
