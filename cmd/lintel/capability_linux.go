package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// raiseCapabilities makes every capability effective that this process is permitted
// to have. The file in the container image permits what Lintel can use, and the Pod
// says which of these it gets; an effective bit on the file would instead keep Lintel
// from starting where it does not get them all (capabilities(7)).
func raiseCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // capabilities 0 to 31, and the rest
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if sets[0].Effective == sets[0].Permitted && sets[1].Effective == sets[1].Permitted {
		return nil
	}
	sets[0].Effective, sets[1].Effective = sets[0].Permitted, sets[1].Permitted
	// Capabilities are a thread's.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return fmt.Errorf("raise capabilities: %w", errno)
	}
	return nil
}
