package address

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The environment of this program when it is not to test, but to be a node.
const (
	nodeVariable      = "LINTEL_TEST_NODE"      // name and addresses of its interface
	wantVariable      = "LINTEL_TEST_WANT"      // addresses of pools
	portVariable      = "LINTEL_TEST_PORT"      // to answer on; 80 if empty
	groupVariable     = "LINTEL_TEST_GROUP"     // of replicas
	powerlessVariable = "LINTEL_TEST_POWERLESS" // without capabilities
)

func TestMain(m *testing.M) {
	if os.Getenv(nodeVariable) != "" {
		if err := runNode(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runNode is a node of the tests' network: it announces addresses, and answers on them
// with its name. Every change of the answers is a line on standard output.
func runNode() error {
	fields := strings.Fields(os.Getenv(nodeVariable))
	if err := prepareNode(fields[1:]); err != nil {
		return err
	}
	var want Want
	for _, text := range strings.Fields(os.Getenv(wantVariable)) {
		want.Addresses = append(want.Addresses, netip.MustParseAddr(text))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for _, addr := range want.Addresses {
		if err := serveName(ctx, addr, fields[0]); err != nil {
			return err
		}
	}
	if os.Getenv(powerlessVariable) != "" {
		if err := syscall.Setuid(65534); err != nil { // gives up all capabilities
			return err
		}
	}
	a := New(Options{Name: fields[0], Log: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", fields[0])})
	want.Group = os.Getenv(groupVariable)
	a.Apply(want)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-a.Changes():
			if err := json.NewEncoder(os.Stdout).Encode(a.Answers()); err != nil {
				return err
			}
		}
	}
}

// prepareNode waits for eth0, gives it addresses and makes it the default route.
func prepareNode(addrs []string) error {
	var link netlink.Link
	for deadline := time.Now().Add(testTimeout); link == nil; time.Sleep(time.Millisecond) {
		var err error
		if link, err = netlink.LinkByName("eth0"); err != nil && time.Now().After(deadline) {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("give eth0 %s: %w", text, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(clientAddress)})
}

// serveName listens on an address that the node need not have.
func serveName(ctx context.Context, addr netip.Addr, name string) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		control := func(fd uintptr) {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1); addr.Is6() {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			}
		}
		if e := c.Control(control); e != nil {
			return e
		}
		return err
	}}
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(addr.String(), cmp.Or(os.Getenv(portVariable), "80")))
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })) //nolint:gosec // A test.
	}()
	return nil
}
