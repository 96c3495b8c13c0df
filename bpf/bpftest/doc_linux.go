// Package bpftest makes what tests of eBPF run in: a network namespace, a cgroup, and a
// bpffs of their own, and tells what they left behind.
package bpftest

import (
	"os"
	"testing"
)

// Require skips the test if err, of a probe, is not nil; it fails it where tests of eBPF
// are asked for (EBPF_TESTS=require).
func Require(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("EBPF_TESTS") == "require":
		t.Fatalf("EBPF_TESTS=require: %v", err)
	default:
		t.Skip(err)
	}
}
