package proxy

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/internal/filelimit"
)

// Connections have the options that package net would give them, though they were set for
// the listening socket alone.
func TestAcceptedConnectionsInherit(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		fd := descriptorOf(t, netip.MustParseAddrPort(c.conn.LocalAddr().String()))
		for _, option := range []struct {
			name        string
			level, key  int
			least, most int
		}{
			{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, 1},
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15, 15},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15, 15},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9, 9},
		} {
			got, err := unix.GetsockoptInt(fd, option.level, option.key)
			if err != nil || got < option.least || got > option.most {
				t.Errorf("%s is %d, %v", option.name, got, err)
			}
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %x, %v", flags, err)
		}
	})
}

// descriptorOf finds this process's side of a connection by its peer.
func descriptorOf(t *testing.T, peer netip.AddrPort) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	for _, file := range files {
		fd, _ := strconv.Atoi(file.Name())
		name, err := unix.Getpeername(fd)
		if err != nil {
			continue
		}
		if in, ok := name.(*unix.SockaddrInet4); ok && netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)) == peer {
			return fd
		}
	}
	t.Fatal("no descriptor")
	return -1
}

// Without descriptors left connections wait, and are served when there are some.
func TestAcceptWithoutDescriptors(t *testing.T) {
	log := &logLines{found: make(chan struct{})}
	run(t, []mode{plainMode}, Settings{Log: slog.New(slog.NewTextHandler(log, nil))}, func(t *testing.T, g *gateway) {
		log.await("accept failed")
		g.route("/", httpBackend(t, echo))
		g.apply()
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK { // so there is a connection to the backend
			t.Fatalf("status %d", res.StatusCode)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		client := os.NewFile(uintptr(fd), "")
		defer client.Close()
		belowLimit := filelimit.Reach(t)
		address := netip.MustParseAddrPort(g.address())
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())})
		select {
		case <-log.found:
		case <-time.After(10 * time.Second):
			t.Error("nothing was said")
		}
		if belowLimit(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.FileConn(client)
		if err != nil {
			t.Fatal(err)
		}
		c := g.over(conn)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

// logLines is a log in which a line is waited for.
type logLines struct {
	mu     sync.Mutex // guards what follows
	wanted string
	found  chan struct{} // closed when wanted came
}

func (l *logLines) await(wanted string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted, l.found = wanted, make(chan struct{})
}

// Write takes a line.
func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wanted != "" && bytes.Contains(line, []byte(l.wanted)) {
		l.wanted = ""
		close(l.found)
	}
	return len(line), nil
}
