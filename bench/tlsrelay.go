package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// tlsRelayBuffer has room for a request or a response of the cases of 1 KiB.
const tlsRelayBuffer = 4 << 10

var errTooLong = errors.New("message is too long for the relay")

// tlsRelay is the least that a program in Go can do between clients that speak TLS and an
// upstream: crypto/tls shakes hands, with the signatures that Lintel makes, and what comes goes over
// kept connections. Of requests it takes each read for a whole one, of responses it looks for
// the length alone. It keeps no limits, and knows no errors but ends of connections.
type tlsRelay struct {
	config   *tls.Config
	upstream string // host:port

	mu   sync.Mutex
	idle []net.Conn // to the upstream
}

// runTLSRelay serves until ctx ends: args are a port, the files of a certificate and its key,
// and the upstream.
func runTLSRelay(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("tlsrelay needs PORT CERTIFICATE KEY UPSTREAM")
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", args[0]))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(args[1], args[2])
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	key, ok := certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("the certificate's key is not of ECDSA")
	}
	certificate.PrivateKey = signer{key}
	r := &tlsRelay{config: &tls.Config{Certificates: []tls.Certificate{certificate}}, upstream: args[3]}
	return r.serve(ctx, l)
}

// signer signs as Lintel does (RFC 6979), which costs less than crypto/tls's own way.
type signer struct{ *ecdsa.PrivateKey }

// Sign implements [crypto.Signer].
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}

func (r *tlsRelay) serve(ctx context.Context, l net.Listener) error {
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go r.relay(ctx, tls.Server(conn, r.config))
	}
}

// relay passes on requests and responses until one side ends.
func (r *tlsRelay) relay(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, tlsRelayBuffer)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		response, err := r.ask(ctx, buf, n)
		if err != nil {
			return
		}
		if _, err := conn.Write(response); err != nil {
			return
		}
	}
}

// ask returns the response to the request in buf[:n], which it overwrites.
func (r *tlsRelay) ask(ctx context.Context, buf []byte, n int) ([]byte, error) {
	up, err := r.borrow(ctx)
	if err != nil {
		return nil, err
	}
	_, err = up.Write(buf[:n])
	have := 0
	for err == nil && !complete(buf[:have]) {
		if have == len(buf) {
			err = errTooLong
			break
		}
		n, err = up.Read(buf[have:])
		have += n
	}
	if err != nil {
		_ = up.Close()
		return nil, err
	}
	r.mu.Lock()
	r.idle = append(r.idle, up)
	r.mu.Unlock()
	return buf[:have], nil
}

func (r *tlsRelay) borrow(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	if last := len(r.idle) - 1; last >= 0 {
		up := r.idle[last]
		r.idle = r.idle[:last]
		r.mu.Unlock()
		return up, nil
	}
	r.mu.Unlock()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", r.upstream)
}

// complete reports whether a response has as many bytes as it says.
func complete(response []byte) bool {
	head, body, found := bytes.Cut(response, []byte("\r\n\r\n"))
	if !found {
		return false
	}
	_, length, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
	length, _, _ = bytes.Cut(length, []byte("\r\n"))
	size, err := strconv.Atoi(string(length))
	return err == nil && len(body) >= size
}
