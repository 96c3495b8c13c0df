package process

import (
	"context"
	"fmt"
	"net"
)

// FreePorts returns n different TCP ports of 127.0.0.1 that nobody listens on now.
// Somebody may before the program does: who started it tries again with others.
func FreePorts(ctx context.Context, n int) ([]uint16, error) {
	var ports []uint16
	var config net.ListenConfig
	for range n {
		l, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		defer l.Close() // after the last, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).AddrPort().Port())
	}
	return ports, nil
}
