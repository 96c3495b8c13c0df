package tls13

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// connect makes one exchange and tells whether its session was resumed.
func connect(t *testing.T, l *listener, client *tls.Config) bool {
	t.Helper()
	conn := l.dial(t, client)
	a := l.next(t)
	if a.err != nil || a.Session == nil {
		t.Fatalf("not handed over: %v", a.outcome())
	}
	go echo(a.Conn)
	exchange(t, conn, []byte("ping"))
	if a.State.DidResume != conn.ConnectionState().DidResume {
		t.Errorf("server resumed: %v, client: %v", a.State.DidResume, conn.ConnectionState().DidResume)
	}
	return a.State.DidResume
}

func TestResumption(t *testing.T) {
	cases := map[string]func(*tls.Config){
		"automatic keys": func(*tls.Config) {},
		"set keys":       func(c *tls.Config) { c.SetSessionTicketKeys([][32]byte{{1}}) },
		"client certificate wanted": func(c *tls.Config) {
			c.ClientAuth = tls.RequestClientCert
		},
		"automatic keys, configuration by name": func(c *tls.Config) {
			other := c.Clone()
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return other, nil }
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			server, client := serverConfig(t)
			change(server)
			l := listen(t, server, nil)
			for i, want := range []bool{false, true, true, true} {
				if got := connect(t, l, client); got != want {
					t.Errorf("connection %d resumed: %v", i, got)
				}
			}
		})
	}
}

func TestNoResumptionWithoutTickets(t *testing.T) {
	server, client := serverConfig(t)
	server.SessionTicketsDisabled = true
	l := listen(t, server, nil)
	for range 2 {
		if connect(t, l, client) {
			t.Error("resumed")
		}
	}
}

// Two sockets with the same keys take each other's tickets, and keys can be
// changed while the server runs.
func TestTicketKeysOfTwoSockets(t *testing.T) {
	server, client := serverConfig(t)
	server2 := server.Clone()
	for _, config := range []*tls.Config{server, server2} {
		config.SetSessionTicketKeys([][32]byte{{1}})
	}
	one, two := listen(t, server, nil), listen(t, server2, nil)
	connect(t, one, client)
	if !connect(t, two, client) {
		t.Error("not resumed on the other socket")
	}
	for _, config := range []*tls.Config{server, server2} {
		config.SetSessionTicketKeys([][32]byte{{2}, {1}})
	}
	if !connect(t, one, client) {
		t.Error("not resumed with the previous key")
	}
	for _, config := range []*tls.Config{server, server2} {
		config.SetSessionTicketKeys([][32]byte{{2}})
	}
	if !connect(t, two, client) {
		t.Error("not resumed with the new key")
	}
	server.SetSessionTicketKeys([][32]byte{{3}})
	if connect(t, one, client) {
		t.Error("resumed with a removed key")
	}
}

// Keys that crypto/tls makes are rotated every day and are valid for a week.
func TestAutomaticRotation(t *testing.T) {
	server, client := serverConfig(t)
	start := time.Now()
	var days atomic.Int64
	server.Time = func() time.Time { return start.Add(time.Duration(days.Load()) * 24 * time.Hour) }
	client.Time = server.Time
	l := listen(t, server, nil)
	connect(t, l, client)
	for day := range int64(10) {
		days.Store(day)
		if !connect(t, l, client) {
			t.Errorf("day %d: not resumed", day)
		}
	}
	days.Store(20)
	if connect(t, l, client) {
		t.Error("resumed after the tickets' lifetime")
	}
}

// A ticket from before the connection was handed over resumes with crypto/tls
// alone, and the other way round: there is one configuration.
func TestResumptionAcrossLanes(t *testing.T) {
	config, client := serverConfig(t)
	l := listen(t, config, nil)
	connect(t, l, client)

	near, far := tcpPair(t)
	done := make(chan *tls.Conn, 1)
	go func() {
		c := tls.Server(near, config)
		_ = echo(c)
		done <- c
	}()
	c := tls.Client(far, client)
	exchange(t, c, []byte("ping"))
	if state := (<-done).ConnectionState(); !state.DidResume {
		t.Error("not resumed by crypto/tls")
	}
	if !connect(t, l, client) {
		t.Error("not resumed after crypto/tls")
	}
}

// Handshakes run while keys are changed, and each is handed over.
func TestConcurrentHandshakes(t *testing.T) {
	config, client := serverConfig(t)
	server := NewServer(config)
	var clients, rotation sync.WaitGroup
	done := make(chan struct{})
	rotation.Go(func() {
		for key := byte(0); ; key++ {
			select {
			case <-done:
				return
			default:
				config.SetSessionTicketKeys([][32]byte{{key}, {key - 1}})
			}
		}
	})
	for range 8 {
		clients.Go(func() {
			for range 10 {
				near, far := tcpPair(t)
				go func() {
					if a := accept(server, near); a.Session == nil {
						t.Errorf("not handed over: %v", a.outcome())
					} else {
						_ = echo(a.Conn)
					}
				}()
				exchange(t, tls.Client(far, client), []byte("ping"))
			}
		})
	}
	clients.Wait()
	close(done)
	rotation.Wait()
}
