package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// However a client frames its request, the upstream never sees the second request
// that hides in the body of the first.
func TestNothingIsSmuggled(t *testing.T) {
	const hidden = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	const body = "0\r\n\r\n" + hidden
	payloads := []string{
		"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
		"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n" + body,
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + body,
		"Transfer-Encoding: identity, chunked\r\n\r\n" + body,
		"Transfer-Encoding: chunked, identity\r\n\r\n" + body,
		"Transfer-Encoding: xchunked\r\nContent-Length: 40\r\n\r\n" + body,
		"Transfer-Encoding : chunked\r\nContent-Length: 40\r\n\r\n" + body,
		"Transfer-Encoding:\x0bchunked\r\nContent-Length: 40\r\n\r\n" + body,
		"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n" + body,
		"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n" + body,
		" Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n" + body,
		"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + body,
		"Content-Length: 40, 40\r\n\r\n" + body,
		"Content-Length: +40\r\n\r\n" + body,
		"Content-Length: 0x28\r\n\r\n" + body,
		"Content-Length: 40\r\nConnection: Content-Length\r\n\r\n" + body,
		"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n28\r\n" + body + "\r\n0\r\n\r\n",
		"Transfer_Encoding: chunked\r\nContent-Length: 40\r\n\r\n" + body,
		"Content_Length: 0\r\nContent-Length: 40\r\n\r\n" + body,
		"Transfer-Encoding: chunked\r\n\r\n0;\n" + hidden + "\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n" + hidden,
		"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n" + hidden,
		"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + hidden,
		"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n" + hidden,
		"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 40\r\n\r\n" + body,
	}
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		var mu sync.Mutex
		var seen []string
		g.route("/first", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				mu.Lock()
				seen = append(seen, req.URL.Path)
				mu.Unlock()
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}))
		g.apply()
		for _, payload := range payloads {
			c := g.dial()
			c.send("POST /first HTTP/1.1\r\nHost: a\r\n" + payload)
			if err := c.conn.(closeWriter).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c.in)
			c.conn.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		for _, path := range seen {
			if path != "/first" {
				t.Errorf("the upstream saw %s", path)
			}
		}
	})
}
