package address

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	testTimeout   = 20 * time.Second
	clientAddress = "10.9.0.1" // of the bridge, on which the tests' client is
	clientIPv6    = "fd09::1"
)

// inNamespace reports whether the test runs in a network namespace of its own.
// Otherwise it runs the test again in one, and returns false.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const marker = "LINTEL_TEST_NETWORK_NAMESPACE"
	if os.Getenv(marker) != "" {
		return true
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
}

// lan is a bridge with nodes. The test itself is the client, at the bridge.
type lan struct {
	*testing.T
	bridge netlink.Link
	nodes  int
}

func newLAN(t *testing.T) *lan {
	l := &lan{T: t, bridge: &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}}
	l.must(netlink.LinkAdd(l.bridge))
	l.give(clientAddress + "/24")
	l.give(clientIPv6 + "/64")
	l.must(netlink.LinkSetUp(l.bridge))
	return l
}

// give gives the client an address.
func (l *lan) give(prefix string) *netlink.Addr {
	l.Helper()
	addr, err := netlink.ParseAddr(prefix)
	l.must(err)
	addr.Flags = syscall.IFA_F_NODAD
	l.must(netlink.AddrAdd(l.bridge, addr))
	return addr
}

func (l *lan) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// node is a process with a network namespace of its own, which outlives it, as a
// machine outlives a process.
type node struct {
	*lan
	name        string
	environment []string
	host        mac
	port        string // of the bridge
	network     *os.File
	cmd         *exec.Cmd // that runs now, or ran last
	ended       chan struct{}

	mu      sync.Mutex // guards answers
	answers map[string]string
}

// start starts a node that wants addresses.
func (l *lan) start(name string, want []string, environment ...string) *node {
	l.Helper()
	n := &node{lan: l, name: name}
	l.nodes++
	n.environment = append(environment, wantVariable+"="+strings.Join(want, " "),
		fmt.Sprintf("%s=%s 10.9.0.%d/24 fd09::%d/64", nodeVariable, name, 10+l.nodes, 10+l.nodes))
	n.run()
	return n
}

// run starts the process of a node: with a new network the first time.
func (n *node) run() {
	n.Helper()
	l := n.lan
	n.ended = make(chan struct{})
	n.mu.Lock()
	n.answers = nil // of a process before this one
	n.mu.Unlock()
	n.cmd = exec.CommandContext(context.WithoutCancel(l.Context()), os.Args[0])
	n.cmd.Env = append(os.Environ(), n.environment...)
	n.cmd.Stderr = l.Output()
	out, err := n.cmd.StdoutPipe()
	l.must(err)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if n.network == nil {
		n.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	l.must(n.in(n.cmd.Start))
	cmd, ended := n.cmd, n.ended
	l.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	go func() {
		defer close(ended)
		n.read(out)
		_ = cmd.Wait()
	}()
	if n.network == nil {
		n.network, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", n.cmd.Process.Pid))
		l.must(err)
		l.Cleanup(func() { n.network.Close() })
		n.connect()
	}
}

// in calls f in the network of the node, if it has one.
func (n *node) in(f func() error) error {
	if n.network == nil {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	n.must(err)
	defer here.Close()
	n.must(netns.Set(netns.NsHandle(n.network.Fd())))
	defer func() { n.must(netns.Set(here)) }()
	return f()
}

// connect plugs a cable between the node and the bridge.
func (n *node) connect() {
	n.Helper()
	n.port = fmt.Sprintf("p%d", n.cmd.Process.Pid)
	n.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: n.port}, PeerName: "x" + n.port}))
	link, err := netlink.LinkByName(n.port)
	n.must(err)
	n.must(netlink.LinkSetMaster(link, n.bridge))
	n.must(netlink.LinkSetUp(link))
	peer, err := netlink.LinkByName("x" + n.port)
	n.must(err)
	copy(n.host[:], peer.Attrs().HardwareAddr)
	n.must(netlink.LinkSetName(peer, "eth0"))
	n.must(netlink.LinkSetNsFd(peer, int(n.network.Fd())))
}

// withdrawals counts how often the node loses an address, until it is called.
func (n *node) withdrawals() (stop func() int) {
	changes, done := make(chan netlink.AddrUpdate, 100), make(chan struct{})
	n.must(n.in(func() error { return netlink.AddrSubscribe(changes, done) }))
	return func() int {
		close(done)
		count := 0
		for {
			select {
			case change, open := <-changes:
				if !open {
					return count
				}
				if !change.NewAddr {
					count++
				}
			case <-time.After(testTimeout):
				n.Fatal("the kernel does not end its news")
			}
		}
	}
}

func (n *node) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var answers map[string]string
		if json.Unmarshal(lines.Bytes(), &answers) == nil {
			n.mu.Lock()
			n.answers = answers
			n.mu.Unlock()
		}
	}
}

func (n *node) signal(s syscall.Signal) { _ = n.cmd.Process.Signal(s) }

// answer returns what the node says of an address; "?" if nothing.
func (n *node) answer(addr string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if text, ok := n.answers[addr]; ok {
		return text
	}
	return "?"
}

func (l *lan) eventually(what string, is func() bool) {
	l.Helper()
	deadline := time.After(testTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			l.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}

// ask returns the name of the node that answers on an address, over a new connection.
func (l *lan) ask(addr string) (string, error) {
	return l.askPort(addr, 80, 150*time.Millisecond)
}

func (l *lan) askPort(addr string, port uint16, timeout time.Duration) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: timeout}
	response, err := client.Get("http://" + netip.AddrPortFrom(netip.MustParseAddr(addr), port).String())
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	name, err := io.ReadAll(response.Body)
	return string(name), err
}

func (l *lan) awaitOwner(addr string, names ...string) string {
	l.Helper()
	var owner string
	l.eventually("somebody of "+strings.Join(names, ", ")+" has "+addr, func() bool {
		name, err := l.ask(addr)
		owner = name
		for _, n := range names {
			if err == nil && n == name {
				return true
			}
		}
		return false
	})
	return owner
}

// reply is that a host answered for an address.
type reply struct {
	host mac
	at   time.Time
}

// watch asks all the time which host has an address, from the first answer until the function that it
// returns is called; that returns the answers, announcements included.
func (l *lan) watch(addr string) (stop func() []reply) {
	l.Helper()
	link, err := net.InterfaceByName("br0")
	l.must(err)
	w, err := openWire(link)
	l.must(err)
	want := netip.MustParseAddr(addr)
	ctx, cancel := context.WithCancel(context.Background())
	var replies []reply
	var running sync.WaitGroup
	answered := make(chan struct{})
	running.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.query(want)
			case r := <-w.received:
				if r.heartbeat == nil && r.sighting.addr == want && !r.sighting.probe {
					if replies = append(replies, reply{r.sighting.host, time.Now()}); len(replies) == 1 {
						close(answered)
					}
				}
			}
		}
	})
	select {
	case <-answered:
	case <-time.After(testTimeout):
		l.Fatalf("nobody has %s", addr)
	}
	return func() []reply {
		cancel()
		running.Wait()
		w.close()
		return replies
	}
}

// query asks as any host does that wants to reach an address.
func (w *wire) query(addr netip.Addr) {
	if addr.Is4() {
		w.send(arpType, arp(arpRequest, w.host, netip.MustParseAddr(clientAddress), addr, mac{}))
		return
	}
	a := addr.As16()
	group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	w.send(ipv6Type, neighbor(neighborSolicitation, 0, 1, w.host, netip.MustParseAddr(clientIPv6), group, addr))
}

// announceFrom says that a host uses an address.
func (l *lan) announceFrom(addr string, host mac) {
	l.Helper()
	link, err := net.InterfaceByName("br0")
	l.must(err)
	w, err := openWire(link)
	l.must(err)
	defer w.close()
	for _, frame := range arpAnnouncements(host, netip.MustParseAddr(addr)) {
		w.send(arpType, frame)
	}
}

// bridgeHost is the hardware address that the client has by now.
func (l *lan) bridgeHost() string {
	l.Helper()
	link, err := net.InterfaceByName("br0")
	l.must(err)
	return link.HardwareAddr.String()
}

// owners lists which hosts answered one after another. Two that answered in turns
// appear more than once.
func owners(replies []reply) []mac {
	var hosts []mac
	for _, r := range replies {
		if len(hosts) == 0 || hosts[len(hosts)-1] != r.host {
			hosts = append(hosts, r.host)
		}
	}
	return hosts
}

// probing keeps connecting to an address until the function that it returns is called;
// that returns the longest time without an answer, and the longest in which this
// machine did not get round to anything.
func (l *lan) probing(addr string) (stop func() (outage, stall time.Duration)) {
	ctx, cancel := context.WithCancel(context.Background())
	stalled := stalls()
	var running sync.WaitGroup
	var outage time.Duration
	running.Go(func() {
		last := time.Now()
		for ctx.Err() == nil {
			if _, err := l.ask(addr); err == nil {
				outage, last = max(outage, time.Since(last)), time.Now()
			}
		}
		outage = max(outage, time.Since(last))
	})
	return func() (time.Duration, time.Duration) {
		cancel()
		running.Wait()
		return outage, stalled()
	}
}

// stalls measures for how long this machine did not get round to anything, until the function
// that it returns is called; that returns the longest time.
func stalls() (stop func() time.Duration) {
	const pause = 5 * time.Millisecond
	end, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		var stall time.Duration
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-tick.C:
				stall = max(stall, time.Since(last)-pause)
			case <-end:
				longest <- stall
				return
			}
		}
	}()
	return func() time.Duration {
		close(end)
		return <-longest
	}
}
