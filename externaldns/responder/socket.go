package responder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

const (
	// maxConnections bounds clients that ask by TCP, on one address.
	maxConnections = 256
	// shutdownTimeout is for queries that are under way at the end.
	shutdownTimeout = 2 * time.Second
	// openInterval is how often an address is tried that can't be opened.
	openInterval = 500 * time.Millisecond
	// acceptPause is for a process that has no more files.
	acceptPause = 50 * time.Millisecond
)

// Socket is what became of an address of Options.Listen.
type Socket struct {
	Address string         // as it was given
	Open    netip.AddrPort // where it is listened; zero while it is not
	Err     error          // why not
}

// Run serves until ctx ends, and closes the sockets. An address that can't be opened, or
// that fails, is tried again and again, and does not keep the others from serving.
func (r *Responder) Run(ctx context.Context) error {
	var group errgroup.Group
	for _, address := range r.options.Listen {
		group.Go(func() error {
			r.keepServing(ctx, address)
			return nil
		})
	}
	return group.Wait()
}

func (r *Responder) keepServing(ctx context.Context, address string) {
	told := ""
	for ctx.Err() == nil {
		err := r.serve(ctx, address, func(at netip.AddrPort) {
			told = ""
			r.options.Listening(Socket{Address: address, Open: at})
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if told != err.Error() {
			told = err.Error()
			r.options.Listening(Socket{Address: address, Err: err})
		}
		timer := time.NewTimer(openInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// serve opens an address for UDP and TCP, and serves until ctx ends or one of them fails.
// Neither is open when it returns.
func (r *Responder) serve(ctx context.Context, address string, opened func(netip.AddrPort)) error {
	var config net.ListenConfig
	tcp, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("open DNS responder: %w", err)
	}
	defer tcp.Close()
	udp, err := config.ListenPacket(ctx, "udp", tcp.Addr().String()) // the same port, if it was 0
	if err != nil {
		return fmt.Errorf("open DNS responder: %w", err)
	}
	defer func() { _ = udp.Close() }() // nothing is lost
	opened(tcp.Addr().(*net.TCPAddr).AddrPort())
	group, ended := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{
		{Listener: netutil.LimitListener(&allowedListener{tcp, r}, maxConnections), Handler: r},
		{PacketConn: udp, Handler: r, UDPSize: udpSize},
	} {
		started := make(chan struct{})
		begin := sync.OnceFunc(func() { close(started) })
		server.NotifyStartedFunc = begin
		group.Go(func() error {
			defer begin() // if it never did
			return server.ActivateAndServe()
		})
		group.Go(func() error {
			<-ended.Done()
			<-started // or there is nothing to end
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			_ = server.ShutdownContext(bounded) // what is under way is cut off after that
			return nil
		})
	}
	return group.Wait()
}

// allowedListener closes the connections of clients that would not be answered.
type allowedListener struct {
	net.Listener
	responder *Responder
}

// Accept implements net.Listener.
func (l *allowedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		switch {
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			time.Sleep(acceptPause) // who accepts would ask again at once
			return nil, err
		case err != nil || l.responder.allowed(conn.RemoteAddr()):
			return conn, err
		}
		conn.Close()
	}
}
