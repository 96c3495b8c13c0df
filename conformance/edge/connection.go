package edge

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
)

// Times of QUIC connections, as the edge has them.
const (
	silence   = 5 * time.Second
	keepAlive = time.Second
	// callTimeout bounds calls to a connector.
	callTimeout = 5 * time.Second
)

// transport is a connection as the edge uses it, whatever it speaks.
type transport interface {
	// roundTrip sends a request. Its Upgrade field asks for a WebSocket, and the body of
	// a 101 is an io.ReadWriteCloser then.
	roundTrip(r *http.Request) (*http.Response, error)
	// dial opens a TCP stream.
	dial(ctx context.Context, destination string) (io.ReadWriteCloser, error)
	// configure sends a configuration, and returns the version that is applied.
	configure(ctx context.Context, version int32, config []byte) (int32, error)
	// goAway ends the connection after what is under way.
	goAway()
	// close ends it at once.
	close()
}

// connection is a connection of a connector. To the RPC system it is the server of the
// calls on the control stream.
type connection struct {
	Connection
	transport

	edge    *Edge
	control io.Writer // the control stream; set before the connection is registered
	leaving bool      // guarded by the Edge's mu
}

// RegisterConnection implements pogs.RegistrationServer.
func (c *connection) RegisterConnection(_ context.Context, auth pogs.TunnelAuth, tunnel uuid.UUID, index byte, options *pogs.ConnectionOptions) (*pogs.ConnectionDetails, error) {
	c.Tunnel, c.Index, c.ID = tunnel, int(index), uuid.New()
	c.Connector, _ = uuid.FromBytes(options.Client.ClientID)
	c.Version, c.Features = options.Client.Version, options.Client.Features
	if err := c.edge.judge(c.Registration, auth); err != nil {
		return nil, err
	}
	c.edge.add(c)
	return &pogs.ConnectionDetails{UUID: c.ID, Location: "fake0" + string(rune('1'+c.Server)), TunnelIsRemotelyManaged: c.edge.options.RemotelyManaged}, nil
}

// UnregisterConnection implements pogs.RegistrationServer.
func (c *connection) UnregisterConnection(context.Context) { c.edge.leave(c) }

// UpdateLocalConfiguration implements pogs.RegistrationServer.
func (c *connection) UpdateLocalConfiguration(_ context.Context, config []byte) error {
	c.edge.mu.Lock()
	defer c.edge.mu.Unlock()
	c.edge.local = append(c.edge.local, append([]byte(nil), config...))
	c.edge.notify()
	return nil
}

// serve answers the calls on a control stream until it or ctx ends.
func (c *connection) serve(ctx context.Context, stream io.ReadWriteCloser) {
	c.control = stream
	if _, err := stream.Write(c.edge.interjected()); err != nil {
		_ = stream.Close() // the connector is gone
		return
	}
	transport := tunnelrpc.SafeTransport(stream)
	calls := tunnelrpc.NewServerConn(transport, pogs.RegistrationServer_ServerToClient(c).Client)
	select {
	case <-calls.Done():
	case <-ctx.Done():
	}
	_ = calls.Close() // the connector may be gone
	_ = transport.Close()
}

// duplex is a stream made of two.
type duplex struct {
	io.Reader
	io.Writer
	close func() error
}

// Close implements io.Closer.
func (d *duplex) Close() error { return d.close() }
