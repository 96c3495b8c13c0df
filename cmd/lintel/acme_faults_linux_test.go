package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/pebble"
	"github.com/lintel-dev/lintel/tls/acme"
)

// TestCertificateFaultsOnCluster looks at what Listeners say while the storage refuses, the
// clock is wrong, DNS does not propagate, or a Secret of the issuer is missing; that the CA
// is not asked in a loop; and that all is well when the fault is gone.
func TestCertificateFaultsOnCluster(t *testing.T) {
	t.Parallel()
	c := newACMECluster(t)
	var ahead atomic.Int64
	c.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c.backoff, c.propagation = acme.Backoff{First: time.Second, Most: 4 * time.Second}, "2s"
	c.startLintel("--kubeconfig="+c.cluster.kubeconfig(), "--lease-namespace=lintel", "--admin-address=", "--gateway-services=off")
	c.refuseStorage()
	c.turnClock(&ahead)
	c.lag()
	c.takeRoots()
}

// allow says what Lintel may do with Secrets beside reading them.
func (c *acmeCluster) allow(verbs ...string) {
	c.Helper()
	roles := c.cluster.core.RbacV1().ClusterRoles()
	role, err := roles.Get(c.Context(), "lintel-certificates", metav1.GetOptions{})
	c.must(err)
	role.Rules[0].Verbs = append([]string{"get"}, verbs...)
	_, err = roles.Update(c.Context(), role, metav1.UpdateOptions{})
	c.must(err)
	c.await("permissions", func() string {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:lintel:lintel",
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "create", Resource: "secrets"},
		}}
		review, err := c.cluster.core.AuthorizationV1().SubjectAccessReviews().Create(c.Context(), review, metav1.CreateOptions{})
		c.must(err)
		if review.Status.Allowed != slices.Contains(verbs, "create") {
			return fmt.Sprintf("%+v", review.Status)
		}
		return ""
	})
}

// refuseStorage has the API server refuse the Secret of a certificate that was issued: the
// same one is kept later, and it is not ordered once more.
func (c *acmeCluster) refuseStorage() {
	c.allow("update")
	c.createGateway("refused", "cloudflare", secureListener{"refused", c.any, "refused.example.test"})
	c.awaitMessage("refused", `the order failed: save certificate: write Secret default/refused: secrets is forbidden`)
	downloads, begun := c.ca.Calls(pebble.Certificate), time.Now()
	c.await("two more tries", func() string {
		if n := c.ca.Calls(pebble.Certificate); n < downloads+2 {
			return fmt.Sprintf("%d tries", n)
		}
		return ""
	})
	if took := time.Since(begun); took < c.backoff.First {
		c.Errorf("two tries within %v", took)
	}
	c.allow("create", "update")
	c.awaitProgrammed("refused")
	c.ordered("refused.example.test", 1)
}

// turnClock has a clock go wrong: nothing is ordered, and what is there is served.
func (c *acmeCluster) turnClock(ahead *atomic.Int64) {
	asked := c.ca.Calls(pebble.NewOrder)
	ahead.Store(int64(100 * 24 * time.Hour))
	const says = "the clock of this machine is 2400h0m0s ahead of that of the CA: set it"
	c.createGateway("early", "cloudflare", secureListener{"early", c.any, "early.example.test"})
	c.awaitMessage("early", says)
	c.awaitCondition("refused", metav1.ConditionTrue, "it was not renewed: the order failed: "+says)
	if _, err := c.handshake(c.any, "refused.example.test"); err != nil {
		c.Error(err)
	}
	if n := c.ca.Calls(pebble.NewOrder); n != asked {
		c.Errorf("%d orders with a wrong clock", n-asked)
	}
	ahead.Store(0)
	c.awaitProgrammed("early")
	c.await("a certificate that need not be renewed", func() string {
		if p := c.programmed("refused"); strings.Contains(p.Message, "not renewed") {
			return p.Message
		}
		return ""
	})
	c.ordered("early.example.test", 1)
	c.ordered("refused.example.test", 1)
}

// lag has a record never be seen: the order is kept until it is.
func (c *acmeCluster) lag() {
	catchUp := c.dns.Lag()
	c.createGateway("lag", "cloudflare", secureListener{"lag", c.any, "lag.example.test"})
	c.awaitMessage("lag", "waiting until the record of the challenge is seen in DNS: the record was made; waiting until it is seen: TXT _acme-challenge.lag.example.test: not at "+c.dns.DNS)
	c.awaitMessage("lag", "the order failed: Cloudflare made the record, but after 2s it is not seen: TXT _acme-challenge.lag.example.test: not at "+c.dns.DNS)
	c.awaitMessage("lag", "waiting until the record of the challenge is seen in DNS")
	c.ordered("lag.example.test", 1)
	catchUp()
	c.awaitProgrammed("lag")
	c.ordered("lag.example.test", 1)
	for _, r := range c.dns.Records("example.test") {
		if r.Type == "TXT" {
			c.Errorf("record left: %s", r.Name)
		}
	}
}

// takeRoots has the Secret be missing that the issuer's settings name.
func (c *acmeCluster) takeRoots() {
	secrets := c.cluster.core.CoreV1().Secrets("lintel")
	secret, err := secrets.Get(c.Context(), "acme", metav1.GetOptions{})
	c.must(err)
	c.must(secrets.Delete(c.Context(), "acme", metav1.DeleteOptions{}))
	c.createGateway("roots", "cloudflare", secureListener{"roots", c.any, "roots.example.test"})
	c.awaitMessage("roots", `the order failed: read certificates that the CA's server is trusted by: read Secret lintel/acme: secrets "acme" not found`)
	secret.ResourceVersion, secret.UID = "", ""
	_, err = secrets.Create(c.Context(), secret, metav1.CreateOptions{})
	c.must(err)
	c.awaitProgrammed("roots")
	c.ordered("roots.example.test", 1)
}

func (c *acmeCluster) ordered(name string, want int) {
	c.Helper()
	if n := ordersFor(c.ca, name); n != want {
		c.Errorf("%d orders for %s", n, name)
	}
}

// programmed is the condition of a Gateway's first Listener.
func (c *acmeCluster) programmed(name string) metav1.Condition {
	c.Helper()
	g, err := c.cluster.gateway.GatewayV1().Gateways("default").Get(c.Context(), name, metav1.GetOptions{})
	c.must(err)
	if len(g.Status.Listeners) > 0 {
		if p := meta.FindStatusCondition(g.Status.Listeners[0].Conditions, string(gatewayv1.ListenerConditionProgrammed)); p != nil {
			return *p
		}
	}
	return metav1.Condition{Message: "no status"}
}

// awaitCondition awaits that a Gateway's first Listener is programmed, or not, and says why.
func (c *acmeCluster) awaitCondition(name string, status metav1.ConditionStatus, says string) {
	c.Helper()
	c.await("condition of Gateway "+name, func() string {
		if p := c.programmed(name); p.Status != status || !strings.Contains(p.Message, says) {
			return fmt.Sprintf("%+v", p)
		}
		return ""
	})
}

// awaitMessage awaits a Gateway whose first Listener is not programmed, and says why.
func (c *acmeCluster) awaitMessage(name, says string) {
	c.Helper()
	c.awaitCondition(name, metav1.ConditionFalse, says)
}
