//go:build linux

package loop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counting makes bytes that tell where in a stream they stand.
func counting(seed, at, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((at+i)*7 + (at+i)>>8 + seed)
	}
	return p
}

// sizeOf is that of a piece: mostly one that gathers, or just about.
func sizeOf(random *rand.Rand) int {
	switch random.IntN(8) {
	case 0:
		return gatherSize - 20 + random.IntN(40)
	case 1:
		return 1 + random.IntN(200_000)
	default:
		return 1 + random.IntN(3000)
	}
}

// talk sends a stream in pieces, reads another one, both with pauses, and ends its own.
func talk(t *testing.T, conn net.Conn, seed int, sends, takes int64) {
	var sending sync.WaitGroup
	sending.Go(func() {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		for at := 0; at < int(sends); {
			n := min(sizeOf(random), int(sends)-at)
			if _, err := conn.Write(counting(seed, at, n)); err != nil {
				t.Errorf("%d: write at %d: %v", seed, at, err)
				return
			}
			if at += n; random.IntN(30) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	})
	random := rand.New(rand.NewPCG(uint64(seed), 2))
	buffer := make([]byte, 100_000)
	at := 0
	for {
		n, err := conn.Read(buffer[:1+random.IntN(len(buffer))])
		if want := counting(seed^1, at, n); string(want) != string(buffer[:n]) {
			t.Errorf("%d: other bytes at %d", seed, at)
			break
		}
		at += n
		if err != nil {
			if err != io.EOF || at != int(takes) {
				t.Errorf("%d: %d bytes of %d, %v", seed, at, takes, err)
			}
			break
		}
		if random.IntN(20) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	sending.Wait()
}

// Relays pass on all that is sent, in order and to nobody else, whatever gathers between.
func TestRelaysOfManyPieces(t *testing.T) {
	r := newRig(t, func(net.Conn, *bufio.Reader) {})
	var talking sync.WaitGroup
	for i := range 24 {
		client, upstream, relay := relaying(t, r, Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute})
		size := int64(1_000_000)
		if i%3 == 0 {
			size = 40_000 // such windows are slow
			_ = client.(*net.TCPConn).SetReadBuffer(4096)
			_ = upstream.(*net.TCPConn).SetReadBuffer(4096)
		}
		random := rand.New(rand.NewPCG(uint64(i), 0))
		up, down := random.Int64N(size), random.Int64N(size)
		talking.Go(func() { talk(t, client, 2*i, up, down) })
		talking.Go(func() { talk(t, upstream, 2*i+1, down, up) })
		talking.Go(func() { expectCounts(t, relay, up, down) })
	}
	talking.Wait()
}

// sized answers with as many bytes as the path says, in one of the framings.
func sized(conn net.Conn, req *http.Request) {
	seed, size, _ := strings.Cut(req.URL.Path[1:], "/")
	n, _ := strconv.Atoi(size)
	number, _ := strconv.Atoi(seed)
	body := counting(number, 0, n)
	if n%2 == 0 {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, body)
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		piece := body[:min(len(body), 5000)]
		body = body[len(piece):]
		fmt.Fprintf(conn, "%x\r\n%s\r\n", len(piece), piece)
	}
	_, _ = io.WriteString(conn, "0\r\n\r\n")
}

// ask sends requests that are pipelined, reads the responses slowly, and then what is left.
func ask(t *testing.T, conn net.Conn, id, requests int, last string) {
	sizes := rand.New(rand.NewPCG(uint64(id), 1))
	var all []int
	for range requests {
		all = append(all, sizeOf(sizes)%40_000)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		random := rand.New(rand.NewPCG(uint64(id), 2))
		var out strings.Builder
		for i, size := range all {
			switch random.IntN(4) {
			case 0:
				n := random.IntN(10_000)
				fmt.Fprintf(&out, "POST /%d/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", id+i, size, n, strings.Repeat("x", n))
			default:
				fmt.Fprintf(&out, "GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n", id+i, size)
			}
			if random.IntN(5) == 0 {
				_, _ = io.WriteString(conn, out.String())
				out.Reset()
			}
		}
		if _, err := io.WriteString(conn, out.String()+last); err != nil {
			t.Errorf("%d: %v", id, err)
		}
	})
	defer sending.Wait()
	random := rand.New(rand.NewPCG(uint64(id), 3))
	in := bufio.NewReaderSize(conn, 16)
	for i, size := range all {
		var res *http.Response
		var err error
		for res == nil || res.StatusCode == http.StatusEarlyHints {
			if res, err = http.ReadResponse(in, nil); err != nil {
				t.Errorf("%d: response %d: %v", id, i, err)
				return
			}
		}
		if random.IntN(10) == 0 {
			time.Sleep(2 * time.Millisecond)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != string(counting(id+i, 0, size)) {
			t.Errorf("%d: response %d has %d bytes of %d, or others, %v", id, i, len(body), size, err)
			return
		}
	}
	if last == "" {
		return
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "handed over" {
		t.Errorf("%d: and then %q, %v", id, rest, err)
	}
}

// Clients that read slowly, in the clear and over TLS, get their responses whole and in order,
// and whoever is handed over at last gets nothing of the new owner before.
func TestSlowClientsOfManyRequests(t *testing.T) {
	const clients, requests = 12, 60
	r := newRig(t, answering(sized))
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		for range clients / 2 {
			out := <-r.handed
			_ = unix.SetNonblock(out.FD, false)
			if !strings.HasPrefix(string(out.Unread), "GET /ws") {
				t.Errorf("handed over with %.20q", out.Unread)
			}
			_, _ = unix.Write(out.FD, []byte("handed over"))
			unix.Close(out.FD)
		}
	}()
	server := tlsServer(t)
	var asking sync.WaitGroup
	for i := range clients {
		near, fd := connected(t)
		_ = near.(*net.TCPConn).SetReadBuffer(20_000)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
		if i%2 == 0 {
			r.group.Serve(Incoming{FD: fd, Socket: r})
			asking.Go(func() {
				ask(t, near, i, requests, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			})
			continue
		}
		r.group.Serve(Incoming{FD: fd, Socket: shaking{r, t, server}, Handshake: true})
		asking.Go(func() { ask(t, tls.Client(near, &tls.Config{InsecureSkipVerify: true}), i, requests, "") })
	}
	asking.Wait()
	<-handed
}

// Requests that may not be repeated come once at most, and to each its own answer, from endpoints
// that end idle connections at any time.
func TestRequestsComeOnce(t *testing.T) {
	const clients, requests = 16, 150
	var mu sync.Mutex
	came := map[string]int{}
	r := newRig(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			mu.Lock()
			came[req.URL.Path]++
			mu.Unlock()
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
			switch rand.IntN(6) {
			case 0: // closes
				return
			case 1: // resets, maybe under the next request
				time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
				_ = conn.(*net.TCPConn).SetLinger(0)
				return
			}
		}
	})
	answered := make([]int, clients)
	var asking sync.WaitGroup
	for i := range clients {
		conn := r.dial()
		asking.Go(func() {
			in := bufio.NewReader(conn)
			for n := range requests {
				path := fmt.Sprintf("/%d-%d", i, n)
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", path)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				mu.Lock()
				times := came[path]
				mu.Unlock()
				if res.StatusCode == http.StatusOK {
					if answered[i]++; string(body) != path || times != 1 {
						t.Errorf("%s came %d times and got %q", path, times, body)
					}
				}
			}
		})
	}
	asking.Wait()
	total := 0
	for i := range answered {
		total += answered[i]
	}
	for path, times := range came {
		if times > 1 {
			t.Errorf("%s came %d times", path, times)
		}
	}
	if total < clients*requests/2 {
		t.Errorf("%d requests of %d were answered", total, clients*requests)
	}
}
