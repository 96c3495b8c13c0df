package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
)

// alreadyConnected is the edge's reason to refuse a second connection to one of its
// servers.
const alreadyConnected = "EDUPCONN"

// refusal is the edge's answer to a registration that it does not accept.
type refusal struct {
	reason    string
	permanent bool
	after     time.Duration // before the next attempt; zero is any
}

// Error implements error.
func (r *refusal) Error() string { return "the edge refuses the tunnel: " + r.reason }

// refusalOf tells what the edge said from what went wrong on the way.
func refusalOf(err error) error {
	if again, ok := errors.AsType[*pogs.RetryableError](err); ok {
		return &refusal{reason: again.Error(), after: again.Delay}
	}
	if _, ok := errors.AsType[*pogs.RPCError](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("register with the edge: %w", err)
	}
	if err.Error() == alreadyConnected {
		return &refusal{reason: "another connection of this tunnel goes to the same server"}
	}
	return &refusal{reason: err.Error(), permanent: true}
}

// control registers the connection over its control stream, and unregisters it when the
// session stops: then it returns nil. Before that it returns when the edge ends the stream,
// or ctx, the connection's, ends.
func (l *link) control(ctx context.Context, stream *fenced) error {
	client := tunnelrpc.NewRegistrationClient(ctx, stream, registerTimeout)
	defer client.Close()
	s := l.session
	c := s.config.Credentials
	details, err := client.RegisterConnection(ctx, pogs.TunnelAuth{AccountTag: c.Account, TunnelSecret: []byte(c.Secret)},
		c.Tunnel, s.options(), uint8(l.index), l.address.Addr().AsSlice())
	if err != nil {
		return stream.verdict(refusalOf(err))
	}
	l.mu.Lock()
	l.registered = true
	l.mu.Unlock()
	s.register(Connection{
		Index: l.index, ID: details.UUID.String(), Location: details.Location,
		Address: l.address, Protocol: l.protocol, Since: time.Now(), RoundTrip: l.rtt,
	})
	if l.index == 0 && !details.TunnelIsRemotelyManaged {
		if err := client.SendLocalConfiguration(ctx, []byte(localConfiguration)); err != nil {
			s.settings.Log.Debug("edge did not take the configuration", "tunnel", s.name, "error", err)
		}
	}
	select {
	case <-ctx.Done():
		return errLost
	case <-stream.over:
		return stream.verdict(errLost)
	case <-s.stopping.Done():
	}
	s.unregister(l.index)
	if err := client.GracefulShutdown(ctx, registerTimeout); err != nil {
		s.settings.Log.Debug("edge did not unregister the connection", "tunnel", s.name, "connection", l.index, "error", err)
	}
	return nil
}

// localConfiguration is what Cloudflare's dashboard shows of a tunnel that is configured
// by its connector.
const localConfiguration = `{"ingress":[{"service":"http://lintel"}],"warp-routing":{"enabled":true}}`

// options are what the edge is told of us.
func (s *session) options() *pogs.ConnectionOptions {
	return &pogs.ConnectionOptions{Client: pogs.ClientInfo{
		ClientID: s.id[:],
		// Response fields come serialized, the dashboard may send configuration, and over
		// QUIC each side ends its direction by itself.
		Features: []string{"serialized_headers", "allow_remote_config", "support_quic_eof"},
		Version:  "lintel/" + s.settings.Version,
		Arch:     runtime.GOOS + "_" + runtime.GOARCH,
	}}
}

// configure answers a configuration that was made in Cloudflare's dashboard: it is
// acknowledged, and not used, as routes say what is served. Versions only grow, and may
// come by several connections.
func (s *session) configure(version int32) *pogs.UpdateConfigurationResponse {
	for {
		last := s.version.Load()
		if version <= last {
			return &pogs.UpdateConfigurationResponse{LastAppliedVersion: last}
		}
		if s.version.CompareAndSwap(last, version) {
			return &pogs.UpdateConfigurationResponse{LastAppliedVersion: version}
		}
	}
}

// configurationUpdate is a configuration as the edge sends it over HTTP/2, and
// configurationAnswer what it expects.
type (
	configurationUpdate struct {
		Version int32           `json:"version"`
		Config  json.RawMessage `json:"config"`
	}
	configurationAnswer struct {
		LastAppliedVersion int32   `json:"lastAppliedVersion"`
		Err                *string `json:"err"`
	}
)

// fenced is a control stream whose writes end with Close: the RPC system has goroutines
// that write later.
type fenced struct {
	read  messages
	write func(p []byte) (int, error)
	end   func()        // makes a read that waits return
	over  chan struct{} // closed when the edge has ended the stream
	fault error         // why it has; may be read once over is closed
	once  sync.Once

	mu     sync.Mutex // held while writing
	closed bool
}

// Read implements io.Reader. One goroutine reads.
func (f *fenced) Read(p []byte) (int, error) {
	n, err := f.read.Read(p)
	if err != nil {
		f.once.Do(func() {
			f.fault = err
			close(f.over)
		})
	}
	return n, err
}

// verdict is err, or that the edge has sent what can't be read, if that is why.
func (f *fenced) verdict(err error) error {
	select {
	case <-f.over:
		if errors.Is(f.fault, errMalformed) {
			return f.fault
		}
	default:
	}
	return err
}

// Write implements io.Writer.
func (f *fenced) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	return f.write(p)
}

// Close implements io.Closer.
func (f *fenced) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		f.end()
	}
	return nil
}
