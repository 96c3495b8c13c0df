package bpf_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/bpftest"
)

func TestWhatTheKernelHasIsAvailable(t *testing.T) {
	needs := bpf.Needs{
		Programs: []bpf.Program{{Type: ebpf.CGroupSockAddr, Since: "4.18"}},
		Maps:     []ebpf.MapType{ebpf.Hash},
		Helpers:  []bpf.Helper{{Program: ebpf.CGroupSockAddr, Function: asm.FnMapLookupElem, Since: "3.18"}},
	}
	bpftest.Require(t, needs.Probe())
}

// A kernel is too old if it does not know a function; no kernel has this one.
func TestWhatTheKernelLacksIsNamed(t *testing.T) {
	needs := bpf.Needs{Programs: []bpf.Program{{Type: ebpf.CGroupSockAddr}}}
	bpftest.Require(t, needs.Probe())
	needs.Helpers = []bpf.Helper{{Program: ebpf.CGroupSockAddr, Function: asm.FnSkbStoreBytes, Since: "99.1"}}
	err := needs.Probe()
	if !errors.Is(err, bpf.ErrUnavailable) {
		t.Fatalf("probe: %v", err)
	}
	for _, part := range []string{"bpf_skb_store_bytes", "Linux 99.1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
}

func TestWithoutCapabilitiesNothingIsAvailable(t *testing.T) {
	if os.Getenv("LINTEL_TEST_UNPRIVILEGED") != "" {
		err := bpf.Needs{}.Probe()
		if !errors.Is(err, bpf.ErrUnavailable) || !strings.Contains(err.Error(), "CAP_BPF") {
			t.Errorf("probe: %v", err)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "LINTEL_TEST_UNPRIVILEGED=1")
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRemovedPinsAreGone(t *testing.T) {
	bpftest.Require(t, bpf.Needs{}.Probe())
	bpftest.NothingLeft(t, "lt_pinned")
	pins := bpftest.Pins(t, "example")
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lt_pinned", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Pin(pins.Path("numbers")); err != nil {
		t.Fatal(err)
	}
	m.Close()
	again, err := pins.Map("numbers")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if err := pins.Remove(); err != nil {
		t.Error(err)
	}
	if err := pins.Remove(); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}
