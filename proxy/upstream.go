package proxy

import (
	"context"
	"net"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// upstream is one connection to an endpoint. It belongs to one exchange at a
// time, or to the pool.
type upstream struct {
	conn     net.Conn
	peek     *peek
	endpoint *router.Endpoint
	stats    *Stats
	readBy   deadline
	writeBy  deadline
	reused   bool      // it came from the pool
	since    time.Time // when it became idle
	next     *upstream // in its idle list
}

// dial connects to an endpoint.
func (p *pool) dial(endpoint *router.Endpoint, limit time.Duration) (*upstream, error) {
	ctx, cancel := context.WithTimeout(p.dialing, limit)
	defer cancel()
	conn, err := p.open(ctx, endpoint.Addr)
	if err != nil {
		return nil, err
	}
	p.stats.Upstream.Add(1)
	return &upstream{
		conn:     conn,
		peek:     newPeek(conn),
		endpoint: endpoint,
		stats:    p.stats,
		readBy:   readDeadline(conn),
		writeBy:  writeDeadline(conn),
	}, nil
}

// close ends the connection. Its exchange or the pool calls it once.
func (u *upstream) close() {
	u.conn.Close()
	u.stats.Upstream.Add(-1)
}

// quiet reports whether an idle connection can be used: it is open, as far as we
// were told, and nothing is there to read.
func (u *upstream) quiet() bool { return !u.peek.readable() }
