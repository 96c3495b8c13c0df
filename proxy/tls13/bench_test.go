package tls13

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

func sizes() []int { return []int{1 << 10, MaxPlaintext} }

func BenchmarkSeal(b *testing.B) {
	for name, suite := range suites() {
		for _, size := range sizes() {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				server, _ := pair(b, suite)
				server.short = 0
				plaintext, out := make([]byte, size), make([]byte, 0, SealedSize(size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					server.Seal(out, plaintext)
				}
			})
		}
	}
}

// The record is copied anew each time, as opening destroys it; a loop's read from
// the socket does that.
func BenchmarkOpen(b *testing.B) {
	for name, suite := range suites() {
		for _, size := range sizes() {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				server, client := pair(b, suite)
				client.short = 0
				record := client.Seal(nil, make([]byte, size))
				buf := make([]byte, len(record))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					copy(buf, record)
					server.in.sequence = 0
					if _, _, err := server.Open(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What crypto/tls needs for the same, without system calls: compare with Seal.
func BenchmarkCryptoTLSWrite(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("AES128/%d", size), func(b *testing.B) {
			_, client, up := memoryTLS(b)
			plaintext := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(plaintext); err != nil {
					b.Fatal(err)
				}
				up.reset()
			}
		})
	}
}

// Likewise a Read and a Write, as crypto/tls can't read one record twice: compare
// with the sum of Seal and Open.
func BenchmarkCryptoTLSWriteRead(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("AES128/%d", size), func(b *testing.B) {
			server, client, up := memoryTLS(b)
			plaintext, buf := make([]byte, size), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(plaintext); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(server, buf); err != nil {
					b.Fatal(err)
				}
				up.reset()
			}
		})
	}
}

// memory is one direction of a connection, for one goroutine at a time.
type memory struct {
	net.Conn // used during the handshake
	ready    bool
	buf      []byte
	at       int
	other    *memory
}

func (m *memory) reset() { m.buf, m.at = m.buf[:0], 0 }

func (m *memory) Write(p []byte) (int, error) {
	if !m.ready {
		return m.Conn.Write(p)
	}
	m.buf = append(m.buf, p...)
	return len(p), nil
}

func (m *memory) Read(p []byte) (int, error) {
	if !m.ready {
		return m.Conn.Read(p)
	}
	n := copy(p, m.other.buf[m.other.at:])
	m.other.at += n
	return n, nil
}

func memoryTLS(b *testing.B) (server, client *tls.Conn, up *memory) {
	b.Helper()
	config, clientConfig := serverConfig(b)
	config.SessionTicketsDisabled = true
	clientConfig.DynamicRecordSizingDisabled = true
	near, far := net.Pipe()
	b.Cleanup(func() { near.Close(); far.Close() })
	down := &memory{Conn: near}
	up = &memory{Conn: far, other: down}
	down.other = up
	server, client = tls.Server(down, config), tls.Client(up, clientConfig)
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	down.ready, up.ready = true, true
	return server, client, up
}

// The same through two Sessions.
func BenchmarkSealOpen(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("AES128/%d", size), func(b *testing.B) {
			server, client := pair(b, aes128)
			client.short = 0
			plaintext, out := make([]byte, size), make([]byte, 0, SealedSize(size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := server.Open(client.Seal(out, plaintext)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHandshake is a whole handshake of both sides over loopback, with and
// without being handed over.
func BenchmarkHandshake(b *testing.B) {
	config, client := serverConfig(b)
	client.ClientSessionCache = nil
	server := NewServer(config)
	hands := map[string]func(net.Conn) error{
		"Session": func(conn net.Conn) error {
			_, err := server.Handshake(context.Background(), conn)
			return err
		},
		"CryptoTLS": func(conn net.Conn) error { return tls.Server(conn, config).Handshake() },
	}
	for name, handshake := range hands {
		b.Run(name, func(b *testing.B) {
			socket, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer socket.Close()
			go func() {
				for {
					conn, err := tls.Dial("tcp", socket.Addr().String(), client)
					if err != nil {
						return
					}
					conn.NetConn().Close()
				}
			}()
			b.ReportAllocs()
			for b.Loop() {
				conn, err := socket.Accept()
				if err != nil {
					b.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				if err := handshake(conn); err != nil {
					b.Fatal(err)
				}
				conn.Close()
			}
		})
	}
}

// BenchmarkMemory tells how many bytes an idle Session holds.
func BenchmarkMemory(b *testing.B) {
	for name, suite := range suites() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(sessionBytes(b, suite), "bytes/session")
			}
		})
	}
}

func sessionBytes(t testing.TB, suite suite) float64 {
	const count = 4000 // many, beside what else is going on in the process
	kept := make([]*Session, count)
	secret := make([]byte, suite.hashSize())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		session, err := newSession(suite, secret, secret)
		if err != nil {
			t.Fatal(err)
		}
		kept[i] = session
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / count
}

func TestSessionIsSmall(t *testing.T) {
	for name, suite := range suites() {
		if got := sessionBytes(t, suite); got > 2<<10 {
			t.Errorf("%s: a session holds %.0f bytes", name, got)
		}
	}
}
