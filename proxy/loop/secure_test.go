//go:build linux

package loop

import (
	"bufio"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/proxy/tls13"
)

// tlsServer has a certificate that nobody trusts.
func tlsServer(t *testing.T) *tls13.Server {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls13.NewServer(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}}})
}

// shaking is a Socket whose connections begin with a handshake of TLS.
type shaking struct {
	Socket
	t      *testing.T
	server *tls13.Server
}

func (s shaking) Shake(conn net.Conn) Shaken {
	h, err := s.server.Handshake(s.t.Context(), conn)
	if err != nil || h.Session == nil {
		s.t.Errorf("handshake: %v", err)
		return Shaken{}
	}
	return Shaken{Lane: ExpressLane, Handshake: h}
}

// Records go out in the order in which they were sealed, with the goodbye last: whoever opens
// them would fail else.
func TestGatheredRecordsStayInOrder(t *testing.T) {
	r := newRig(t, answering(func(conn net.Conn, req *http.Request) {
		size, _ := strconv.Atoi(req.URL.Path[1:])
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for i := range size {
			fmt.Fprintf(conn, "a\r\n%010d\r\n", i)
		}
		fmt.Fprintf(conn, "0\r\n\r\n")
	}))
	near, fd := connected(t)
	r.group.Serve(Incoming{FD: fd, Socket: shaking{r, t, tlsServer(t)}, Handshake: true})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	var all strings.Builder
	const requests = 100
	for i := range requests {
		end := ""
		if i == requests-1 {
			end = "Connection: close\r\n"
		}
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n%s\r\n", i%7*300, end)
	}
	if _, err := io.WriteString(client, all.String()); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	for i := range requests {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || len(body) != i%7*3000 {
			t.Fatalf("response %d has %d bytes, %v", i, len(body), err)
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("and then %v", err)
	}
}
