package bpftest

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// WithCapabilities calls f on a thread that has no other capabilities, and that nothing else
// will use. The kernel checks programs more strictly, and makes them slower, for those who
// have no CAP_PERFMON.
func WithCapabilities(f func() error, keep ...bpf.Capability) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it ends with the goroutine
		err := dropCapabilities(keep)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func dropCapabilities(keep []bpf.Capability) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // capabilities 0 to 31, and the rest
	for _, c := range keep {
		sets[c/32].Effective |= 1 << (c % 32)
		sets[c/32].Permitted |= 1 << (c % 32)
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
