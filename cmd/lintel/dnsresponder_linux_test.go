package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	fakeedge "github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/conformance/instance"
	"github.com/lintel-dev/lintel/conformance/knot"
	programs "github.com/lintel-dev/lintel/conformance/process"
)

// TestClientsOfTheLocalNetworkGoStraightToTheGateway asks as a machine of a home does, in a
// network namespace of its own: dig and curl know nothing but the responder, which
// Knot DNS stands behind with what the internet would be told. The internet comes through a
// tunnel.
func TestClientsOfTheLocalNetworkGoStraightToTheGateway(t *testing.T) {
	if testing.Short() {
		return
	}
	programs.Require(t, "dig", "curl", "unshare")
	if !inNamespace(t) {
		return
	}
	client := newLANClient(t)
	internet := knot.ForTest(t, knot.Options{Zones: []string{"example.test", "elsewhere.test"}})
	client.must(internet.Update(t.Context(), "example.test",
		`www.example.test. 60 IN A 203.0.113.80`, `www.example.test. 60 IN AAAA 2001:db8::80`,
		`www.example.test. 60 IN HTTPS 1 . alpn=h2 ech=AEX+DQ==`, `www.example.test. 60 IN TXT "public"`, `mail.apps.example.test. 60 IN A 203.0.113.25`))
	client.must(internet.Update(t.Context(), "elsewhere.test", `host.elsewhere.test. 60 IN A 203.0.113.9`))

	backend := serveHello(t)
	h := newDNSHome(t)
	h.write("gateway.yaml", instance.Together(lanManifests, instance.Service("hello", backend.Addr().String())))
	tunnel := &tunnelHome{T: t, edge: fakeedge.ForTest(t, fakeedge.Options{}), tunnel: uuid.New(), folder: h.folder}
	tunnel.declare("")
	tunnel.secret(tunnel.edge.Allow(tunnel.tunnel))
	h.run(nil, "--dns-responder-address=:53", "--dns-responder-forward="+internet.Address, "--dns-responder-ttl=7s", "--dns-responder-exclude=mail.apps.example.test")

	h.await("the name is at the gateway", func() string {
		return client.dig("192.168.1.2", "www.example.test. 7 IN A 192.168.1.2", "www.example.test A")
	})
	for _, c := range []struct{ question, want string }{
		{"www.example.test A", "www.example.test. 7 IN A 192.168.1.2"},
		{"WwW.Example.TEST A", "WwW.Example.TEST. 7 IN A 192.168.1.2"},
		{"+tcp www.example.test A", "www.example.test. 7 IN A 192.168.1.2"},
		{"www.example.test AAAA", "www.example.test. 7 IN AAAA fd00::2"},
		{"www.example.test HTTPS", ""},
		{"www.example.test SVCB", ""},
		{"www.example.test TXT", `www.example.test. 60 IN TXT "public"`},
		{"a.b.apps.example.test A", "a.b.apps.example.test. 7 IN A 192.168.1.2"},
		{"apps.example.test A", ""},
		{"mail.apps.example.test A", "mail.apps.example.test. 60 IN A 203.0.113.25"},
		{"x.mail.apps.example.test A", ""},
		{"blog.example.test A", "blog.example.test. 7 IN A 192.168.1.2"},
		{"host.elsewhere.test A", "host.elsewhere.test. 60 IN A 203.0.113.9"},
	} {
		for _, server := range []string{"192.168.1.2", "192.168.1.3", "fd00::2"} {
			if problem := client.dig(server, c.want, c.question); problem != "" {
				t.Error(problem)
			}
		}
	}
	for question, status := range map[string]string{
		"www.example.test HTTPS":                     "status: NOERROR",
		"none.example.test A":                        "status: NXDOMAIN",
		"-b 203.0.113.10 www.example.test A":         "status: REFUSED",
		"+noednsnegotiation +edns=1 example.test A":  "status: BADVERS",
		"+bufsize=4096 +dnssec www.example.test TXT": "status: NOERROR",
	} {
		if out := client.run("dig", append([]string{"@192.168.1.2"}, strings.Fields(question)...)...); !strings.Contains(out, status) {
			t.Errorf("dig %s: want %s\n%s", question, status, out)
		}
	}
	for _, name := range []string{"www.example.test", "x.apps.example.test"} {
		if got := client.run("curl", "--silent", "--show-error", "--max-time", "30", "--write-out", " %{http_code} %{remote_ip}", "-4", "http://"+name+"/"); got != "hello 200 192.168.1.2" {
			t.Errorf("curl %s: %s", name, got)
		}
	}
	tunnel.connected(4)
	away := &http.Client{Transport: tunnel.edge.RoundTripper(tunnel.tunnel), Timeout: testTimeout}
	if got, err := answerText(away, "https://www.example.test/"); got != "hello" {
		t.Errorf("from the internet: %q, %v", got, err)
	}
	if text := h.metrics(); !strings.Contains(text, `lintel_dns_responder_queries_total{outcome="forwarded"}`) || !strings.Contains(text, "lintel_dns_responder_names 3") {
		t.Errorf("metrics:\n%s", text)
	}
}

// lanManifests have a node that the internet knows by another address.
const lanManifests = instance.Class + `---
apiVersion: v1
kind: Node
metadata: {name: home}
status: {addresses: [{type: InternalIP, address: 192.168.1.2}, {type: InternalIP, address: "fd00::2"}, {type: ExternalIP, address: 203.0.113.80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  infrastructure: {parametersRef: {group: lintel.dev, kind: Tunnel, name: home}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: www, annotations: {external-dns.kubernetes.io/target: t.cfargotunnel.com, external-dns.kubernetes.io/hostname: blog.example.test}}
spec:
  hostnames: [www.example.test, "*.apps.example.test"]
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: hello, port: 80}]}]
`

// serveHello is a backend in the test's namespace.
func serveHello(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", backendAddress+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-ended })
	return listener
}

// lanClient is a machine of the local network, 192.168.1.10, whose resolv.conf names
// 192.168.1.2, which is the test's own end of the cable, and so Lintel's.
type lanClient struct {
	*testing.T
	network    netns.NsHandle
	resolvConf string
}

func newLANClient(t *testing.T) *lanClient {
	t.Helper()
	c := &lanClient{T: t, resolvConf: filepath.Join(t.TempDir(), "resolv.conf")}
	c.must(os.WriteFile(c.resolvConf, []byte("nameserver 192.168.1.2\n"), 0o644)) //nolint:gosec // As that file is.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	c.must(err)
	defer here.Close()
	c.network, err = netns.New()
	c.must(err)
	c.must(netns.Set(here))
	t.Cleanup(func() { c.network.Close() })
	c.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan"}, PeerName: "eth0"}))
	peer, err := netlink.LinkByName("eth0")
	c.must(err)
	c.must(netlink.LinkSetNsFd(peer, int(c.network)))
	handle, err := netlink.NewHandle()
	c.must(err)
	defer handle.Close()
	c.connect(handle, "lan", "192.168.1.2/24", "192.168.1.3/24", "203.0.113.1/24", "fd00::2/64")
	there, err := netlink.NewHandleAt(c.network)
	c.must(err)
	defer there.Close()
	c.connect(there, "eth0", "192.168.1.10/24", "203.0.113.10/24", "fd00::10/64")
	return c
}

func (c *lanClient) connect(handle *netlink.Handle, name string, prefixes ...string) {
	c.Helper()
	link, err := handle.LinkByName(name)
	c.must(err)
	for _, prefix := range prefixes {
		address, err := netlink.ParseAddr(prefix)
		c.must(err)
		address.Flags = 0x02 // IFA_F_NODAD: usable at once
		c.must(handle.AddrAdd(link, address))
	}
	c.must(handle.LinkSetUp(link))
}

func (c *lanClient) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// run returns what a program prints that is run there.
func (c *lanClient) run(program string, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), testTimeout)
	defer cancel()
	script := `mount --bind "$0" /etc/resolv.conf && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, c.resolvConf, program}, args...)...)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	c.must(err)
	defer here.Close()
	c.must(netns.Set(c.network))
	out, err := cmd.CombinedOutput() // with the network of this thread
	c.must(netns.Set(here))
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return string(out)
}

// dig returns "" if the answer section is what is wanted.
func (c *lanClient) dig(server, want, question string) string {
	c.Helper()
	out := c.run("dig", append([]string{"@" + server, "+noall", "+answer", "+nocookie", "+tries=1", "+time=30"}, strings.Fields(question)...)...)
	if got := strings.Join(strings.Fields(out), " "); got != want {
		return fmt.Sprintf("dig @%s %s: %q, want %q", server, question, got, want)
	}
	return ""
}
