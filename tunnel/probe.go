package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Find returns the addresses of the edge, as a tunnel with such an endpoint of its
// [Credentials] would be given them.
func (e *Edge) Find(ctx context.Context, endpoint string) ([]netip.AddrPort, error) {
	found, err := e.resolve(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	var all []netip.AddrPort
	for _, region := range found {
		all = append(all, region...)
	}
	return all, nil
}

// Reach connects to an address of the edge by HTTP2 or QUIC, as a tunnel does before it
// registers, and ends the connection. It returns how long that took.
func (e *Edge) Reach(ctx context.Context, address netip.AddrPort, protocol Protocol) (time.Duration, error) {
	l := &link{session: &session{edge: e}, address: address, protocol: protocol}
	start := time.Now()
	if protocol == QUIC {
		c, err := l.dialQUIC(ctx)
		if err != nil {
			return 0, fmt.Errorf("reach %s: %w", address, err)
		}
		took := time.Since(start)
		_ = c.conn.CloseWithError(0, "") // it fails on a closed one
		return took, c.udp.Close()
	}
	c, err := l.dialHTTP2(ctx)
	if err != nil {
		return 0, fmt.Errorf("reach %s: %w", address, err)
	}
	return time.Since(start), c.conn.Close()
}
