package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/conformance/pebble"
)

// TestReplicasOrderOnce starts three replicas at once, as processes, that prove names by
// updates of a real name server (RFC 2136): there is one order. Then the one that orders
// dies between an order and its end: the certificate still comes, by one order more at most.
func TestReplicasOrderOnce(t *testing.T) {
	t.Parallel()
	c := newACMECluster(t)
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
	c.must(server.Update(t.Context(), "example.test", "*.example.test. 60 IN A 127.0.0.1"))
	ca := pebble.ForTest(t, c.options(server.Address))
	roots, err := ca.Issuers(t.Context())
	c.must(err)
	c.roots.AppendCertsFromPEM(roots)
	c.ca = ca

	replicas := c.startReplicas(3, server)
	c.createGateway("web", "acme", secureListener{"web", c.any, "*.example.test"}, secureListener{"web", c.any, "example.test"})
	c.awaitServed(c.any, "www.example.test")
	if n := len(ca.Orders()); n != 1 {
		t.Errorf("%d orders for one certificate and three replicas", n)
	}

	// A CA asks any replica: the kernel decides which, for each name anew.
	listeners := []secureListener{{"", c.plain, ""}}
	for i := range 6 {
		listeners = append(listeners, secureListener{"many", c.secure, fmt.Sprintf("n%d.example.test", i)})
	}
	c.createGateway("many", "http", listeners...)
	c.awaitServed(c.secure, "n5.example.test")
	if n := ordersFor(ca, "n0.example.test"); n != 1 {
		t.Errorf("%d orders by http-01", n)
	}

	var killed sync.Once
	ca.Intercept(pebble.Finalize, func(http.ResponseWriter, *http.Request) (answered bool) {
		killed.Do(func() {
			holder := c.holder()
			t.Logf("%s dies", holder)
			c.must(replicas[holder].Signal(syscall.SIGKILL))
			answered = true
		})
		return answered
	})
	begun := time.Now()
	c.createGateway("shop", "acme", secureListener{"shop", c.other, "shop.example.test"})
	c.awaitServed(c.other, "shop.example.test")
	t.Logf("served %v after it was wanted", time.Since(begun).Round(time.Second))
	if n := ordersFor(ca, "shop.example.test"); n > 2 {
		t.Errorf("%d orders for a certificate whose leader died", n)
	} else {
		t.Logf("%d orders", n)
	}
}

// holder is the replica that holds the Lease.
func (c *acmeCluster) holder() string {
	lease, err := c.cluster.core.CoordinationV1().Leases("lintel").Get(c.Context(), "lintel", metav1.GetOptions{})
	c.must(err)
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return name
}

// startReplicas runs lintel in processes, which end with the test, and returns them by name.
func (c *acmeCluster) startReplicas(n int, server *knot.Server) map[string]*os.Process {
	ca, key := filepath.Join(c.TempDir(), "ca.pem"), filepath.Join(c.TempDir(), "key")
	c.must(os.WriteFile(ca, c.ca.Roots, 0o600))
	c.must(os.WriteFile(key, []byte(server.Key.Secret), 0o600))
	config := c.cluster.kubeconfig()
	replicas := make(map[string]*os.Process)
	for i := range n {
		name := fmt.Sprintf("replica-%d", i)
		cmd := exec.CommandContext(c.Context(), os.Args[0], "run", "--kubeconfig="+config, "--lease-namespace=lintel", "--admin-address=", //nolint:gosec // This very test.
			"--share-sockets=on", fmt.Sprintf("--acme-issuers=[{name: http, solver: http-01, directory: %q, caFile: %q}]", c.ca.Directory, ca), "--access-log=off", "--publish-address=192.0.2.7", "--gateway-services=off", "--http-port=0", "--https-port=0",
			"--acme-solver=rfc2136", "--acme-email=a@example.test", "--acme-directory="+c.ca.Directory, "--acme-ca-file="+ca,
			"--acme-credential=file:"+key, "--acme-dns-server="+server.Address,
			"--acme-dns-key="+strings.TrimSuffix(server.Key.Algorithm, ".")+":"+strings.TrimSuffix(server.Key.Name, "."), "--acme-resolvers="+server.Address)
		cmd.Args[0] = "lintel" // by which TestMain knows what to be
		cmd.Env = append(os.Environ(), "POD_NAME="+name)
		cmd.Stdout, cmd.Stderr = c.Output(), c.Output()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		c.must(cmd.Start())
		c.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		replicas[name] = cmd.Process
	}
	return replicas
}
