package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports are chosen below those that the kernel gives to sockets which don't ask for one, and
// that clients come from: none of these gets one before the program that it was chosen for.
const (
	firstPort = 10000
	lastPort  = 29999
)

// FreePorts returns n different TCP ports of 127.0.0.1 that nobody listens on now.
// Somebody may before the program does: who started it tries again with others.
func FreePorts(ctx context.Context, n int) ([]uint16, error) {
	var ports []uint16
	var config net.ListenConfig
	for len(ports) < n {
		port := firstPort + rand.N(lastPort-firstPort+1) //nolint:gosec // It is no secret.
		l, err := config.Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		defer l.Close()                     // after the last, so that they differ
		ports = append(ports, uint16(port)) //nolint:gosec // It is one.
	}
	return ports, nil
}
