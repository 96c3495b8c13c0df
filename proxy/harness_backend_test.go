package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// httpBackend serves a handler with net/http.
func httpBackend(t testing.TB, handler http.HandlerFunc) *router.Backend {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return backendAt(server.Listener.Addr())
}

// rawBackend runs serve for each connection, and closes it afterwards.
func rawBackend(t testing.TB, serve func(net.Conn, *bufio.Reader)) *router.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			served.Go(func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		served.Wait()
	})
	return backendAt(listener.Addr())
}

// answering serves every request on a connection with the same bytes.
func answering(bytes string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if _, err := io.WriteString(conn, bytes); err != nil {
				return
			}
		}
	}
}

func backendAt(addrs ...net.Addr) *router.Backend {
	b := router.NewBackend("default/app:80")
	var endpoints []netip.AddrPort
	for _, a := range addrs {
		endpoints = append(endpoints, netip.MustParseAddrPort(a.String()))
	}
	b.SetEndpoints(endpoints)
	return b
}

// h2cBackendAt has one endpoint, which speaks HTTP/2 in the clear.
func h2cBackendAt(address net.Addr) *router.Backend {
	b := router.NewBackendWith("default/app:80", router.BackendSettings{Protocol: router.H2C})
	b.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(address.String())})
	return b
}

// deadAddress is one where nothing listens.
func deadAddress(t testing.TB) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr()
}
