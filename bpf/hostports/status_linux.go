package hostports

import (
	"fmt"
	"runtime"
)

// Active says in words how many addresses are received for in the calling thread's network
// namespace, by whichever process; "" is none.
func Active() (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	count := 0
	for _, network := range []string{"tcp", "udp"} {
		sockets, err := listeningSockets(network)
		if err != nil {
			return "", fmt.Errorf("see who listens: %w", err)
		}
		for _, s := range sockets {
			if isInner(s.at) {
				count++
			}
		}
	}
	switch count {
	case 0:
		return "", nil
	case 1:
		return "1 socket receives without being bound", nil
	}
	return fmt.Sprintf("%d sockets receive without being bound", count), nil
}
