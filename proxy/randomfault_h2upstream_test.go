package proxy

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// faultyH2 is the upstreams whose exchanges are planned.
type faultyH2 struct {
	mu    sync.Mutex // guards what follows
	open  map[*faultyConn]bool
	asked map[uint64]int // attempts at an exchange, by its number
	acted map[uint64]int // those that were not refused
}

func newFaultyH2() *faultyH2 {
	return &faultyH2{open: map[*faultyConn]bool{}, asked: map[uint64]int{}, acted: map[uint64]int{}}
}

// faultyConn is a connection to one of them. One goroutine reads it; each stream has one that
// answers.
type faultyConn struct {
	*rawH2Endpoint
	up      *faultyH2
	serving sync.WaitGroup

	mu      sync.Mutex // guards what follows, and what is written
	changed *sync.Cond
	streams map[uint32]*faultyStream // that are open
	room    h2Room
	acted   uint32 // the highest stream that was acted on
	gone    bool   // GOAWAY was sent: none that is higher will be
	closes  bool   // ... and the connection ends with the last stream
	dead    bool   // nothing can be written
}

// faultyStream is one exchange.
type faultyStream struct {
	c  *faultyConn
	p  *planned // nil for one that is to go well
	id uint32

	// Guarded by c.mu.
	body     strings.Builder // what has come of the request's
	reads    bool            // more may come of it
	ended    bool            // all has come
	answered bool            // END_STREAM was sent
	reset    bool            // by either side
}

func (u *faultyH2) serve(e *rawH2Endpoint) {
	c := &faultyConn{rawH2Endpoint: e, up: u, streams: map[uint32]*faultyStream{}, room: newH2Room(e.frames)}
	c.changed = sync.NewCond(&c.mu)
	u.mu.Lock()
	u.open[c] = true
	u.mu.Unlock()
	for {
		frame, err := c.frames.ReadFrame()
		if err != nil {
			break
		}
		c.take(frame)
	}
	c.mu.Lock()
	c.dies()
	c.mu.Unlock()
	c.serving.Wait()
	u.mu.Lock()
	delete(u.open, c)
	u.mu.Unlock()
}

// dies makes all streams give up. mu is held.
func (c *faultyConn) dies() {
	c.dead = true
	c.changed.Broadcast()
}

// take acts on a frame.
func (c *faultyConn) take(frame http2.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Broadcast()
	if c.dead {
		return
	}
	c.room.take(frame)
	s := c.streams[frame.Header().StreamID]
	switch f := frame.(type) {
	case *http2.RSTStreamFrame:
		if s != nil {
			s.over()
		}
	case *http2.MetaHeadersFrame:
		if s == nil && !(c.gone && f.StreamID > c.acted) {
			c.asked(f)
		}
	case *http2.DataFrame:
		n := uint32(len(f.Data()))
		if n > 0 {
			_ = c.frames.WriteWindowUpdate(0, n)
		}
		if s == nil {
			return
		}
		s.body.Write(f.Data())
		s.ended = f.StreamEnded()
		if n > 0 && s.reads && !s.ended {
			_ = c.frames.WriteWindowUpdate(s.id, n)
		}
		s.finish()
	}
}

// asked begins a stream. mu is held.
func (c *faultyConn) asked(f *http2.MetaHeadersFrame) {
	s := &faultyStream{c: c, id: f.StreamID, ended: f.StreamEnded()}
	for _, field := range f.Fields {
		if field.Name == "x-id" {
			number, _ := strconv.ParseUint(field.Value, 36, 64)
			s.p = planH2(number)
		}
	}
	c.streams[s.id] = s
	c.room.open(s.id)
	c.serving.Go(s.serve)
}

// over forgets a stream that was reset. mu is held.
func (s *faultyStream) over() {
	s.reset = true
	s.leave()
}

// finish forgets a stream that has ended both ways. mu is held.
func (s *faultyStream) finish() {
	if s.ended && s.answered {
		s.leave()
	}
}

func (s *faultyStream) leave() {
	c := s.c
	delete(c.streams, s.id)
	c.room.close(s.id)
	if c.closes && len(c.streams) == 0 {
		_ = c.conn.(*net.TCPConn).CloseWrite()
		c.dies()
	}
}

// alive reports whether there is somebody to answer. mu is held.
func (s *faultyStream) alive() bool { return !s.reset && !s.c.dead }

// begin reports whether the exchange is acted on, or refused. mu is held.
func (s *faultyStream) begin() bool {
	c, u, p := s.c, s.c.up, s.p
	if !s.alive() || c.gone && s.id > c.acted {
		delete(c.streams, s.id)
		return false
	}
	if p == nil {
		c.acted = max(c.acted, s.id)
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked[p.number]++
	if u.asked[p.number] > p.h2.refuses {
		u.acted[p.number]++
		c.acted = max(c.acted, s.id)
		return true
	}
	if p.h2.byGone && s.id > c.acted {
		c.goAway()
	} else {
		_ = c.frames.WriteRSTStream(s.id, http2.ErrCodeRefusedStream)
	}
	s.over()
	return false
}

// goAway says that no stream will be served but those that were acted on. mu is held.
func (c *faultyConn) goAway() {
	_ = c.frames.WriteGoAway(c.acted, http2.ErrCodeNo, []byte("planned"))
	c.gone = true
}

// quiet reports whether no stream is left, and no connection that has said that it goes.
func (u *faultyH2) quiet() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.open {
		c.mu.Lock()
		left := len(c.streams) > 0 || c.gone || c.dead
		c.mu.Unlock()
		if left {
			return false
		}
	}
	return true
}

// closeAll closes the connections that are left.
func (u *faultyH2) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.open {
		c.conn.Close()
	}
}

// actedOnce checks that no request which may have an effect was acted on twice.
func (u *faultyH2) actedOnce(t *testing.T) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for number, times := range u.acted {
		if p := planH2(number); p.posts > 0 && times > 1 {
			t.Errorf("acted on %d times: %s", times, p)
		}
	}
}
