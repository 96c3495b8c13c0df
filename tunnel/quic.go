package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
	"github.com/quic-go/quic-go"
)

// What the edge speaks over QUIC.
const (
	quicServerName = "quic.cftunnel.com"
	quicProtocol   = "argotunnel"
)

const (
	// maxStreams is how many requests a connection may have under way: what memory allows
	// is the handler's business.
	maxStreams = 1 << 16
	// The edge drops connections that are silent for 5 s.
	quicSilence   = 5 * time.Second
	quicKeepAlive = time.Second
	// The edge may be behind a path with the MTU of WARP, which is 1280.
	quicPacketSize = 1232
	// Windows: what the edge may send ahead of a handler that does not read. They grow
	// from what QUIC starts with.
	quicStreamWindow     = 1 << 20
	quicConnectionWindow = 8 << 20
	// quicLinger is how long the last bytes have to arrive: closing drops what was not
	// acknowledged.
	quicLinger = 500 * time.Millisecond
)

// quicConnection is a connection on which the edge opens a stream for each request.
type quicConnection struct {
	link *link
	udp  *net.UDPConn
	conn *quic.Conn
	idle atomic.Int32 // workers that wait for a stream
}

func (l *link) dialQUIC(ctx context.Context) (*quicConnection, error) {
	udp, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		ServerName: quicServerName, NextProtos: []string{quicProtocol},
		RootCAs: l.session.edge.roots(), MinVersion: tls.VersionTLS13,
	}
	start := time.Now()
	conn, err := quic.Dial(ctx, udp, net.UDPAddrFromAddrPort(l.address), config, &quic.Config{
		HandshakeIdleTimeout:       dialTimeout,
		MaxIdleTimeout:             quicSilence,
		KeepAlivePeriod:            quicKeepAlive,
		MaxIncomingStreams:         maxStreams,
		MaxIncomingUniStreams:      -1,
		EnableDatagrams:            true, // the edge may insist; what comes is dropped
		MaxStreamReceiveWindow:     quicStreamWindow,
		MaxConnectionReceiveWindow: quicConnectionWindow,
		InitialPacketSize:          quicPacketSize,
	})
	if err != nil {
		_ = udp.Close()
		return nil, err
	}
	l.rtt = time.Since(start)
	return &quicConnection{link: l, udp: udp, conn: conn}, nil
}

// serve serves the connection until the edge ends it, or the session stops.
func (c *quicConnection) serve() error {
	accepting := make(chan struct{})
	c.link.session.draining.Go(func() {
		defer close(accepting)
		c.accept()
	})
	err := c.control()
	c.link.session.draining.Go(func() {
		c.finish(err)
		<-accepting
		_ = c.udp.Close()
		c.link.wait()
	})
	return err
}

// control opens the control stream, which is the first, and stays while it does.
func (c *quicConnection) control() error {
	stream, err := c.conn.OpenStreamSync(c.conn.Context())
	if err != nil {
		return errLost
	}
	fence := &fenced{read: messages{from: stream, accept: acceptAnswer}, write: stream.Write, over: make(chan struct{}), end: func() {
		stream.CancelRead(0)
		_ = stream.Close() // it fails if the connection is gone
	}}
	err = c.link.control(c.conn.Context(), fence)
	_ = fence.Close() // it has no error to tell
	if err != nil && c.conn.Context().Err() != nil {
		if _, refused := errors.AsType[*refusal](err); !refused {
			err = fmt.Errorf("%w: %w", errLost, context.Cause(c.conn.Context()))
		}
	}
	return err
}

// finish ends the connection after what is under way.
func (c *quicConnection) finish(err error) {
	if err == nil || worked(err) {
		c.linger() // what the edge has sent before it knew
		drained := make(chan struct{})
		go func() {
			c.link.wait()
			close(drained)
		}()
		timer := time.NewTimer(c.link.session.settings.GracePeriod)
		defer timer.Stop()
		select {
		case <-drained:
		case <-timer.C:
		case <-c.conn.Context().Done():
		}
	}
	c.linger()
	_ = c.conn.CloseWithError(0, "") // it fails on a closed one
}

// linger waits for what is on its way.
func (c *quicConnection) linger() {
	timer := time.NewTimer(quicLinger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.conn.Context().Done():
	}
}

// accept serves streams until the connection ends, and what is under way.
func (c *quicConnection) accept() {
	streams := make(chan *quic.Stream)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(streams)
	for {
		stream, err := c.conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		if !c.link.enter() {
			stream.CancelRead(0)
			stream.CancelWrite(0)
			continue
		}
		select {
		case streams <- stream:
		default:
			workers.Go(func() { newQUICWorker(c).run(stream, streams) })
		}
	}
}

// UpdateConfiguration implements pogs.ConfigurationManager.
func (c *quicConnection) UpdateConfiguration(_ context.Context, version int32, _ []byte) *pogs.UpdateConfigurationResponse {
	return c.link.session.configure(version)
}

// noSessions refuses UDP, which no route takes from a tunnel.
type noSessions struct{}

// RegisterUdpSession implements pogs.SessionManager.
func (noSessions) RegisterUdpSession(context.Context, uuid.UUID, net.IP, uint16, time.Duration, string) (*pogs.RegisterUdpSessionResponse, error) {
	return nil, errors.New("UDP is not served")
}

// UnregisterUdpSession implements pogs.SessionManager.
func (noSessions) UnregisterUdpSession(context.Context, uuid.UUID, string) error {
	return errors.New("UDP is not served")
}
