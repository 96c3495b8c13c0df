package main

import (
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
)

// backendAddress is where backends listen inside the test's network namespace.
const backendAddress = "10.250.0.1"

// inNamespace reports whether the test runs in a network namespace of its own,
// where it may use any port and address. Otherwise it runs the test again in one,
// passes its outcome on, and returns false. Meanwhile it waits, beside others that do.
func inNamespace(t *testing.T) bool {
	const marker = "LINTEL_TEST_NETWORK_NAMESPACE"
	if os.Getenv(marker) != "" {
		os.Unsetenv(marker) // it is no setting of Lintel's
		raiseLoopback(t)
		return true
	}
	t.Parallel()
	if err := controlplane.Build(t.Context(), slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err) // inside the namespace the module proxy is out of reach
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // a user namespace gives the right to make the other one
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
}

// raiseLoopback turns the namespace's lo on and gives it the backends' address.
func raiseLoopback(t *testing.T) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	lo, _ := unix.NewIfreq("lo")
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("raise lo: %v", err)
	}
	alias, _ := unix.NewIfreq("lo:1")
	address := netip.MustParseAddr(backendAddress).As4()
	if err := alias.SetInet4Addr(address[:]); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, alias); err != nil {
		t.Fatalf("give lo an address: %v", err)
	}
}
