package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf/bpftest"
	"github.com/lintel-dev/lintel/bpf/hostports"
	"github.com/lintel-dev/lintel/conformance/instance"
	programs "github.com/lintel-dev/lintel/conformance/process"
	edgetls "github.com/lintel-dev/lintel/tls"
)

const skLookup = "--host-ports=sk_lookup"

// edge is a node, its backends and its Lintels, each a process of its own.
type edge struct {
	*testing.T
	folder    string // that every user may read
	manifests string
	started   int
}

// newEdge returns a node in the test's network namespace, or nil where the test runs in
// another process.
func newEdge(t *testing.T) *edge {
	t.Helper()
	if testing.Short() || !inNamespace(t) {
		return nil
	}
	bpftest.Require(t, hostports.Probe())
	bpftest.NothingLeft(t, "lt_host_ports")
	bpftest.NothingLeft(t, "lt_sockets")
	folder, err := os.MkdirTemp("", "lintel-edge-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	e := &edge{T: t, folder: folder, manifests: filepath.Join(folder, "manifests")}
	e.must(os.Chmod(folder, 0o777)) //nolint:gosec // Other users' processes make sockets in it.
	certificate, key, err := edgetls.SelfSigned([]string{"app.test"}, time.Hour)
	e.must(err)
	e.must(os.Mkdir(e.manifests, 0o755)) //nolint:gosec // As above.
	text := instance.Gateway(":80", ":443") + fmt.Sprintf(edgeManifests, e.echoHTTP(), e.echoUDP()) + "---\n" + instance.Certificate(certificate, key)
	e.must(os.WriteFile(filepath.Join(e.manifests, "edge.yaml"), []byte(text), 0o644)) //nolint:gosec // As above.
	return e
}

func (e *edge) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// echoHTTP is a backend that says how it was asked.
func (e *edge) echoHTTP() (port int) {
	listener, err := net.Listen("tcp", backendAddress+":0")
	e.must(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s to port %s", r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Port"))
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	e.Cleanup(func() { server.Close(); <-ended })
	return listener.Addr().(*net.TCPAddr).Port
}

// echoUDP is a backend that says what it hears.
func (e *edge) echoUDP() (port int) {
	conn, err := net.ListenPacket("udp", backendAddress+":0")
	e.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	e.Cleanup(func() { conn.Close(); <-ended })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// program is a Lintel that runs.
type program struct {
	*edge
	process *exec.Cmd
	log     *lockedBuffer
	socket  string // for lintel probe
	stopped bool
}

// launch starts a Lintel, and does not wait for it. how changes its process.
func (e *edge) launch(how func(*exec.Cmd), flags ...string) *program {
	e.Helper()
	e.started++
	p := &program{edge: e, log: &lockedBuffer{}, socket: filepath.Join(e.folder, fmt.Sprint("admin-", e.started))}
	p.process = exec.Command("/proc/self/exe")
	p.process.Args = append([]string{"lintel", "run", "--manifests=" + e.manifests, "--admin-address=", "--admin-socket=" + p.socket,
		"--access-log=off", "--http-port=0", "--https-port=0", "--log-format=text", "--udp-idle-timeout=200ms"}, flags...)
	p.process.Stderr, p.process.Dir = p.log, "/"
	p.process.SysProcAttr = &syscall.SysProcAttr{}
	if how != nil {
		how(p.process)
	}
	e.must(p.process.Start())
	e.Cleanup(func() {
		p.stop()
		if e.Failed() {
			e.Logf("lintel %d said:\n%s", p.process.Process.Pid, p.log)
		}
	})
	return p
}

// start starts a Lintel, and returns when it is ready.
func (e *edge) start(flags ...string) *program {
	e.Helper()
	p := e.launch(nil, flags...)
	p.awaitReady()
	return p
}

func (p *program) awaitReady() {
	p.Helper()
	untilNil(p.T, "lintel is ready", func() error { _, err := p.readyz(); return err })
}

// readyz is what the program says of itself.
func (p *program) readyz() (string, error) {
	var text bytes.Buffer
	err := probe(p.Context(), p.socket, "readyz", &text)
	return text.String(), err
}

// stop ends the program as systemd and Kubernetes do.
func (p *program) stop() {
	p.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	p.must(p.process.Process.Signal(syscall.SIGTERM))
	if err := p.process.Wait(); err != nil {
		p.Errorf("lintel %d: %v", p.process.Process.Pid, err)
	}
}

// get asks over new connections to an address, whatever the URL says.
func get(address, url string) (string, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // It signs itself.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	}
	return answerOf(&http.Client{Transport: transport, Timeout: testTimeout}, url)
}

func answerOf(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return string(body), err
}

func (e *edge) expect(address, url, want string) {
	e.Helper()
	if got, err := get(address, url); err != nil || got != want {
		e.Errorf("%s at %s: got %q, %v; want %q", url, address, got, err, want)
	}
}

// What is not bound serves as what is bound does, in both lanes.
func TestPortsWithoutBinding(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	for _, lane := range []string{"on", "off"} {
		p := e.start(skLookup, "--express-lane="+lane, "--proxy-protocol-from=127.0.0.9")
		for _, address := range []string{"127.0.0.1", "127.1.2.3", backendAddress, "[::1]"} {
			client := "127.0.0.1"
			switch address {
			case "[::1]":
				client = "::1"
			case backendAddress:
				client = backendAddress
			}
			e.expect(address+":80", "http://app.test/", "http for "+client+" to port 80")
			e.expect(address+":443", "https://app.test/", "https for "+client+" to port 443")
		}
		for _, address := range []string{"127.0.0.1:443", "[::1]:443", backendAddress + ":443"} {
			e.expectHTTP3(address)
		}
		for _, address := range []string{"127.0.0.1:53", "127.1.2.3:53", "[::1]:53", backendAddress + ":53"} {
			e.expectEcho(address)
		}
		e.expectIntroduced()
		// Nobody is bound.
		for _, address := range []string{":80", ":443"} {
			listener, err := net.Listen("tcp", address)
			e.must(err)
			listener.Close()
		}
		var status bytes.Buffer
		e.must(writeBPFStatus(&status, bpfFeatures()))
		if !strings.Contains(status.String(), "active: 4 sockets receive without being bound") {
			t.Errorf("lintel bpf status says\n%s", &status)
		}
		p.stop()
		if _, err := get("127.0.0.1:80", "http://app.test/"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the end: %v", err)
		}
	}
}

func (e *edge) expectHTTP3(address string) {
	e.Helper()
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"}} //nolint:gosec // It signs itself.
	defer transport.Close()
	got, err := answerOf(&http.Client{Transport: transport, Timeout: testTimeout}, "https://"+address+"/")
	if err != nil || !strings.HasSuffix(got, "to port 443") {
		e.Errorf("HTTP/3 at %s: got %q, %v", address, got, err)
	}
}

// expectEcho asks over a connected socket, which hears nobody but whom it asked.
func (e *edge) expectEcho(address string) {
	e.Helper()
	conn, err := net.Dial("udp", address)
	e.must(err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	_, err = conn.Write([]byte("hello"))
	e.must(err)
	buf := make([]byte, 16)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "hello" {
		e.Errorf("UDP at %s: got %q, %v", address, buf[:n], err)
	}
}

// expectIntroduced asks as a load balancer that says whose connection it forwards.
func (e *edge) expectIntroduced() {
	e.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}, Timeout: testTimeout}
	conn, err := dialer.Dial("tcp", "127.0.0.1:80")
	e.must(err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	_, err = io.WriteString(conn, "PROXY TCP4 203.0.113.7 192.0.2.1 40000 8080\r\nGET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
	e.must(err)
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(answer), "http for 203.0.113.7 to port 8080") {
		e.Errorf("through a load balancer: got %q, %v", answer, err)
	}
}

// load has clients ask over connections that are kept and over new ones, until what it returns is
// called. None of them may fail.
func (e *edge) load() (end func()) {
	e.Helper()
	programs.Require(e.T, "wrk")
	all := []*wrk{
		startWrk(e.T, "http://127.0.0.1/", "-H", "Host: app.test"),
		startWrk(e.T, "http://127.0.0.1/", "-H", "Host: app.test", "-H", "Connection: close"),
		startWrk(e.T, "https://127.0.0.1/", "-H", "Host: app.test"),
	}
	return func() {
		e.Helper()
		for _, w := range all {
			r := w.stop(e.T)
			e.Logf("%s: %d requests, %d failures", w.process.Args, r.requests, r.failures)
			if r.failures != 0 || r.requests < 500 {
				e.Errorf("wrk said:\n%s", &w.out)
			}
		}
	}
}

// New Lintels take the place of old ones, as in a rollout, under load of connections that are
// kept and of new ones. Nothing fails.
func TestRolloutUnderLoad(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	serving := e.start(skLookup, "--share-sockets=on")
	endLoad := e.load()
	for range 3 {
		next := e.start(skLookup, "--share-sockets=on")
		serving.stop()
		serving = next
		e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	}
	endLoad()
	serving.stop()
}

// Replicas that bind and those that don't follow each other.
func TestHostPortsMayChange(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	serving := e.start("--share-sockets=on")
	for _, way := range []string{skLookup, skLookup, "--host-ports=bind", skLookup} {
		next := e.start(way, "--share-sockets=on")
		serving.stop()
		serving = next
		e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
		e.expect("127.0.0.1:443", "https://app.test/", "https for 127.0.0.1 to port 443")
		e.expectHTTP3("127.0.0.1:443")
		e.expectEcho("127.0.0.1:53")
	}
}

// Who is killed takes nothing along from the others, and leaves nothing behind.
func TestAKilledLintelLeavesThePortsToOthers(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	first := e.start(skLookup, "--share-sockets=on")
	second := e.start(skLookup, "--share-sockets=on")
	first.kill()
	for range 50 {
		e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	}
	untilNil(t, "the other reads datagrams", func() error {
		conn, err := net.Dial("udp", "127.0.0.1:53")
		e.must(err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte("hello"))
		_, err = conn.Read(make([]byte, 16))
		return err
	})
	second.kill()
	if _, err := get("127.0.0.1:80", "http://app.test/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v", err)
	}
}

func (p *program) kill() {
	p.Helper()
	p.stopped = true
	p.must(p.process.Process.Kill())
	_ = p.process.Wait() // it was killed
}

// A port that somebody else has bound stays theirs, and is taken when it is free. The others
// serve meanwhile.
func TestPortsOfOthersAreLeftToThem(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	other, err := net.Listen("tcp", "127.0.0.1:80")
	e.must(err)
	p := e.start(skLookup)
	text, err := p.readyz()
	name, nameErr := os.ReadFile("/proc/self/comm")
	e.must(nameErr)
	want := fmt.Sprintf("socket :80: open socket: :80/tcp is in use by process %d (%s)", os.Getpid(), strings.TrimSpace(string(name)))
	if err != nil || !strings.Contains(text, want) {
		t.Errorf("ready says %q, %v; want %q", text, err, want)
	}
	e.expect("127.0.0.1:443", "https://app.test/", "https for 127.0.0.1 to port 443")
	conn, err := net.Dial("tcp", "127.0.0.1:80")
	e.must(err)
	theirs, err := other.Accept()
	e.must(err)
	theirs.Close()
	conn.Close()
	other.Close()
	untilNil(t, "the port is taken", func() error { _, err := get("127.0.0.1:80", "http://app.test/"); return err })
}

// Somebody without rights is served by binding, and told why.
func TestHostPortsWithoutCapabilities(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	e.must(os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("80"), 0))
	p := e.launch(asUser(), skLookup)
	p.awaitReady()
	e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	const why = "unavailable because this process does not have CAP_BPF"
	if text, err := p.readyz(); err != nil || !strings.Contains(text, "host-ports: ports are bound; sk_lookup is "+why) {
		t.Errorf("ready says %q, %v", text, err)
	}
	if !strings.Contains(p.log.String(), why) {
		t.Error("the log does not say why")
	}
}

// Two capabilities are enough for TCP; UDP ports below 1024 need one more, and say so.
func TestHostPortsWithTwoCapabilities(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	p := e.launch(asUser(unix.CAP_BPF, unix.CAP_NET_ADMIN), skLookup, "--share-sockets=on")
	p.awaitReady()
	e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	e.expect("[::1]:443", "https://app.test/", "https for ::1 to port 443")
	text, err := p.readyz()
	if err != nil || !strings.Contains(text, "socket :53/udp:") || !strings.Contains(text, "UDP ports below 1024 need CAP_NET_BIND_SERVICE") {
		t.Errorf("ready says %q, %v", text, err)
	}
	next := e.launch(asUser(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE), skLookup, "--share-sockets=on")
	next.awaitReady()
	p.stop()
	e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	e.expectHTTP3("127.0.0.1:443")
	e.expectEcho("[::1]:53")
}

// asUser makes a process another user's, with some capabilities.
func asUser(capabilities ...uintptr) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
		c.SysProcAttr.AmbientCaps = capabilities
	}
}

// edgeManifests begin with one more Listener of the Gateway.
const edgeManifests = `  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, sectionName: http}, {name: web, sectionName: https}]
  rules: [{backendRefs: [{name: backend, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: UDPRoute
metadata: {name: dns}
spec:
  parentRefs: [{name: web, sectionName: dns}]
  rules: [{backendRefs: [{name: backend, port: 53}]}]
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
endpoints: [{addresses: [10.250.0.1]}]
ports: [{name: http, port: %d}, {name: dns, port: %d, protocol: UDP}]
`
