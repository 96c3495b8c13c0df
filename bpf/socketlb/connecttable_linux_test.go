package socketlb

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/bpftest"
)

var connectTable = flag.Bool("connect-table", false, "measure connect() through Services, and print a table")

const (
	tableRounds = 30  // in which every case gets its turn
	tableEach   = 300 // connections of a case in a round
)

// TestConnectTable measures how long connect() takes to a Service of several, as make
// bench-bpf prints it. Each case has two network namespaces with a veth between them, as a
// Pod and its node have: an endpoint listens in one, and the other one connects to the
// Service that is in the middle of all. Those that need no rules, which are direct
// connections and ours, have the same ones, as where the kernel puts things makes a
// difference, too. In each round every case has its turn, so that what else the machine
// does hits all of them.
func TestConnectTable(t *testing.T) {
	if !*connectTable {
		t.Skip("this is make bench-bpf")
	}
	bpftest.Require(t, Needs().Probe())
	bpftest.NothingLeft(t, "lb_")
	counts := []int{1, 100, 5000}
	plain, served := bpftest.Cgroup(t), map[int]string{}
	for _, count := range counts {
		served[count] = bpftest.Cgroup(t)
	}
	bpftest.Enter(t, plain)
	for _, count := range counts {
		serveMany(t, served[count], count)
	}
	var cases []*connectCase
	bare, err := startPlace(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range counts {
		for _, way := range connectWays() {
			at := bare
			if way.rules != nil {
				if at, err = startPlace(t, way.rules(count), way.program...); err != nil {
					t.Logf("%s, %d Services, is left out: %.1000s", way.name, count, err)
					continue
				}
			}
			cases = append(cases, &connectCase{way: way, services: count, at: at})
		}
	}
	for range tableRounds {
		for _, c := range cases {
			group := plain
			if c.way.balanced {
				group = served[c.services]
			}
			if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
			c.at.turns <- c
			if err := <-c.at.done; err != nil {
				t.Fatalf("%s, %d Services: %v", c.way.name, c.services, err)
			}
		}
	}
	printConnectTable(t, counts, cases)
	if err := os.WriteFile(filepath.Join(plain, "cgroup.procs"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
}

// serveMany serves a cgroup with programs and tables of its own, until the test ends.
func serveMany(t *testing.T, cgroup string, count int) {
	var p *programs
	err := bpftest.WithCapabilities(func() (err error) { // as in a Pod
		p, err = load(bpf.Pins{}, NodeSizes())
		return err
	}, bpf.CapBPF, bpf.CapNetAdmin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	table, err := newTable(p.collection.Maps)
	if err == nil {
		err = table.apply(manyServices(count))
	}
	if err == nil {
		err = p.attach(cgroup)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tableEndpoint is on the other side of the veth.
const tableEndpoint = "10.244.0.1:8080"

func serviceAddress(i int) string { return fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250) }

func manyServices(count int) Services {
	all := make(Services, count)
	for i := range count {
		all[fmt.Sprint("n/", i)] = []Port{{Protocol: TCP, Addresses: addresses(serviceAddress(i) + ":80"), Endpoints: addresses(tableEndpoint)}}
	}
	return all
}

// connectWay is how a Service is reached.
type connectWay struct {
	name     string
	balanced bool // by our programs
	direct   bool // the endpoint's own address is dialed
	program  []string
	rules    func(count int) string // that the program reads
}

func connectWays() []connectWay {
	return []connectWay{
		{name: "direct, without a Service", direct: true},
		{name: "socket LB", balanced: true},
		{name: "nftables, verdict map", program: []string{"nft", "-f", "-"}, rules: nftRules},
		{name: "iptables, a rule each", program: []string{"iptables-legacy-restore"}, rules: iptablesRules},
	}
}

// nftRules are as kube-proxy's: a map from Services to chains, in each of which is one DNAT.
func nftRules(count int) string {
	var chains, elements strings.Builder
	for i := range count {
		fmt.Fprintf(&chains, "chain s%d { meta l4proto tcp dnat to %s; }\n", i, tableEndpoint)
		fmt.Fprintf(&elements, "%s . tcp . 80 : goto s%d,\n", serviceAddress(i), i)
	}
	return fmt.Sprintf("table ip services {\n%s\nmap ports { type ipv4_addr . inet_proto . inet_service : verdict; elements = { %s } }\n"+
		"chain output { type nat hook output priority -100; ip daddr . meta l4proto . th dport vmap @ports; }\n}\n", &chains, &elements)
}

// iptablesRules are as kube-proxy's: one after the other, each leads to a chain with one DNAT.
func iptablesRules(count int) string {
	var chains, jumps, rules strings.Builder
	for i := range count {
		fmt.Fprintf(&chains, ":S%d - [0:0]\n", i)
		fmt.Fprintf(&jumps, "-A OUTPUT -d %s/32 -p tcp -m tcp --dport 80 -j S%d\n", serviceAddress(i), i)
		fmt.Fprintf(&rules, "-A S%d -p tcp -j DNAT --to-destination %s\n", i, tableEndpoint)
	}
	return "*nat\n:OUTPUT ACCEPT [0:0]\n" + chains.String() + jumps.String() + rules.String() + "COMMIT\n"
}

// connectCase is a row and a column of the table.
type connectCase struct {
	way      connectWay
	services int
	at       *connectPlace
	connect  [][]time.Duration // of each round, sorted
	whole    [][]time.Duration // with socket() and close(), likewise
}

// connectPlace is a thread with network namespaces of its own, which go with it.
type connectPlace struct {
	turns chan *connectCase
	done  chan error
}

// startPlace makes a place with the rules that a program reads, until the test ends.
func startPlace(t *testing.T, rules string, program ...string) (*connectPlace, error) {
	p := &connectPlace{make(chan *connectCase), make(chan error)}
	go func() {
		defer close(p.done)
		runtime.LockOSThread()
		listener, err := makePlace(rules, program)
		if p.done <- err; err != nil {
			return
		}
		defer unix.Close(listener)
		for c := range p.turns {
			p.done <- c.measure(listener)
		}
	}()
	if err := <-p.done; err != nil {
		return nil, err
	}
	t.Cleanup(func() { close(p.turns); <-p.done })
	return p, nil
}

func makePlace(rules string, program []string) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	endpoint, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return -1, err
	}
	defer endpoint.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	client, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return -1, err
	}
	defer client.Close()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "client"}, PeerName: "endpoint", PeerNamespace: netlink.NsFd(endpoint.Fd())}
	if err := netlink.LinkAdd(pair); err != nil {
		return -1, fmt.Errorf("add veth: %w", err)
	}
	if err := feed("link set lo up\naddress add 10.244.0.2/24 dev client\nlink set client up\nroute add default dev client\n", "ip", "-batch", "-"); err != nil {
		return -1, err
	}
	if rules != "" {
		if err := feed(rules, program...); err != nil {
			return -1, err
		}
	}
	if err := unix.Setns(int(endpoint.Fd()), unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	if err := feed("address add 10.244.0.1/24 dev endpoint\nlink set endpoint up\n", "ip", "-batch", "-"); err != nil {
		return -1, err
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(listener, tcp4().sockaddr(netip.MustParseAddrPort(tableEndpoint)))
	}
	if err == nil {
		err = unix.Listen(listener, 128)
	}
	if err == nil {
		err = unix.Setns(int(client.Fd()), unix.CLONE_NEWNET)
	}
	return listener, err
}

func feed(input string, command ...string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		path = filepath.Join("/usr/sbin", command[0])
	}
	cmd := exec.Command(path, command[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command[0], err, bytes.TrimSpace(out))
	}
	return nil
}

func (c *connectCase) measure(listener int) error {
	var connects, wholes []time.Duration
	abort := unix.Linger{Onoff: 1} // or every connection would stay in TIME_WAIT
	endpoint := tcp4().sockaddr(netip.MustParseAddrPort(tableEndpoint))
	service := tcp4().sockaddr(netip.MustParseAddrPort(serviceAddress(c.services/2) + ":80"))
	for range tableEach {
		to := endpoint
		if !c.way.direct {
			to = service
		}
		before := time.Now()
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		start := time.Now()
		err = unix.Connect(s, to)
		end := time.Now()
		connects = append(connects, end.Sub(start))
		if err != nil {
			return err
		}
		accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &abort); err != nil {
			return err
		}
		last := time.Now()
		unix.Close(s)
		wholes = append(wholes, end.Sub(before)+time.Since(last))
		unix.Close(accepted)
	}
	slices.Sort(connects)
	slices.Sort(wholes)
	c.connect, c.whole = append(c.connect, connects), append(c.whole, wholes)
	return nil
}

// quantiles over all rounds, in microseconds.
func quantiles(rounds [][]time.Duration) (least, median float64) {
	all := slices.Concat(rounds...)
	slices.Sort(all)
	return float64(all[0]) / 1e3, float64(all[len(all)/2]) / 1e3
}

// ratio is the median of what the rounds' medians are to those of another case, each
// beside the one of the same round.
func ratio(rounds, to [][]time.Duration) float64 {
	var ratios []float64
	for i := range rounds {
		ratios = append(ratios, float64(rounds[i][tableEach/2])/float64(to[i][tableEach/2]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func printConnectTable(t *testing.T, counts []int, cases []*connectCase) {
	for _, measure := range []struct {
		what string
		of   func(*connectCase) [][]time.Duration
	}{
		{"connect()", func(c *connectCase) [][]time.Duration { return c.connect }},
		{"socket(), connect(), close()", func(c *connectCase) [][]time.Duration { return c.whole }},
	} {
		var out strings.Builder
		fmt.Fprintf(&out, "\n| %s, µs: least / p50, p50 to direct |", measure.what)
		for _, count := range counts {
			fmt.Fprintf(&out, " %d |", count)
		}
		out.WriteString("\n|---|" + strings.Repeat("---|", len(counts)) + "\n")
		for _, way := range connectWays() {
			row := "| " + way.name + " |"
			for _, count := range counts {
				of := func(name string) *connectCase {
					at := slices.IndexFunc(cases, func(c *connectCase) bool { return c.way.name == name && c.services == count })
					if at < 0 {
						return nil
					}
					return cases[at]
				}
				if c, direct := of(way.name), of(connectWays()[0].name); c != nil && direct != nil {
					least, median := quantiles(measure.of(c))
					row += fmt.Sprintf(" %.1f / %.1f, × %.2f |", least, median, ratio(measure.of(c), measure.of(direct)))
				} else {
					row += " not measured |"
				}
			}
			out.WriteString(row + "\n")
		}
		t.Log(out.String())
	}
}
