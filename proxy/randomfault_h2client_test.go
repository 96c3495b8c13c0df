package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// backlog is how much waits in a framingClient before its streams wait: so they take turns.
	backlog = 20_000
	// What the gateway lets clients send, see h2.DefaultSettings.
	h2StreamWindow, h2ConnWindow = 256 << 10, 1 << 20
)

// framingClient is a connection of a client that writes frames of HTTP/2 itself, and looks at all
// that come. One goroutine reads them, one writes, and each stream has one that sends.
type framingClient struct {
	r         *h2ClientRun
	conn      net.Conn
	running   sync.WaitGroup
	disturbed bool // an exchange may end the connection for all
	frugal    bool // the connection's window is opened once it is used up

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	random  *rand.Rand
	out     bytes.Buffer // to write
	frames  *http2.Framer
	block   bytes.Buffer
	hpack   *hpack.Encoder
	streams map[uint32]*h2Exchange
	last    uint32 // stream that was opened

	room    h2Room
	window  int64 // for payload that comes, and
	first   int64 // ... that of a new stream
	unacked int   // SETTINGS
	shrinks int64 // by so much do the windows of streams, as of those
	until   uint32
	pings   uint64 // round trips that were begun
	trips   uint64 // ... and are over

	outLeft, inLeft int    // bytes until the connection is left, -1 for all
	how             string // it is left
	broken          bool   // what was written ends the connection: nothing follows
	told            bool   // GOAWAY of an error has come
	closing         bool   // nothing is expected any more
	dead            error  // why nothing comes any more
}

// dialH2Planned connects.
func (r *h2ClientRun) dialH2Planned(random *rand.Rand) *framingClient {
	conn, err := r.g.dialForH2()
	if err != nil {
		r.t.Error(err)
		return nil
	}
	c := &framingClient{
		r: r, conn: conn, frugal: random.IntN(3) == 0, random: random, streams: map[uint32]*h2Exchange{},
		window: 65535, first: pick[int64](random, 0, 100, 5000, 65535, 65535, 1<<20),
		outLeft: -1, inLeft: -1,
	}
	c.changed = sync.NewCond(&c.mu)
	c.frames = http2.NewFramer(&c.out, c)
	c.room = newH2Room(c.frames)
	c.frames.AllowIllegalWrites = true
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.block)
	size := pick[uint32](random, 16<<10, 16<<10, 20_000, 1<<20)
	c.frames.SetMaxReadFrameSize(size)
	c.out.WriteString(http2.ClientPreface)
	_ = c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.first)},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: size},
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: pick[uint32](random, 0, 100, 4096)})
	c.unacked = 1
	c.running.Go(c.read)
	c.running.Go(c.write)
	return c
}

// close ends the connection, from which nothing more is wanted.
func (c *framingClient) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.conn.Close()
	c.running.Wait()
}

// ends notes that nothing comes any more. mu is held.
func (c *framingClient) ends(err error) {
	if c.dead == nil {
		c.dead = err
	}
	c.changed.Broadcast()
}

// write writes what is there, in pieces of any size.
func (c *framingClient) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.out.Len() == 0 && c.outLeft != 0 && c.dead == nil {
			c.changed.Wait()
		}
		if c.dead != nil {
			return
		}
		n := min(c.out.Len(), pick(c.random, 1+c.random.IntN(200), 8<<10, 64<<10))
		if c.outLeft >= 0 {
			n = min(n, c.outLeft)
			c.outLeft -= n
		}
		p := bytes.Clone(c.out.Next(n))
		over := c.outLeft == 0
		c.changed.Broadcast()
		c.mu.Unlock()
		_, err := c.conn.Write(p)
		if over {
			leave(c.conn, c.how)
		}
		c.mu.Lock()
		if over || err != nil {
			return // what comes back tells
		}
	}
}

// Read is for the Framer.
func (c *framingClient) Read(p []byte) (int, error) {
	c.mu.Lock()
	left := c.inLeft
	c.mu.Unlock()
	if left == 0 {
		leave(c.conn, c.how)
		return 0, errLeft
	}
	if left > 0 {
		p = p[:min(len(p), left)]
	}
	n, err := c.conn.Read(p)
	if left > 0 {
		c.mu.Lock()
		c.inLeft -= n
		c.mu.Unlock()
	}
	return n, err
}

// read acts on the frames that come.
func (c *framingClient) read() {
	for {
		frame, err := c.frames.ReadFrame()
		c.mu.Lock()
		if err == nil {
			c.take(frame)
			c.changed.Broadcast()
			c.mu.Unlock()
			continue
		}
		_, reset := errors.AsType[*net.OpError](err)
		gone := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errLeft) || errors.Is(err, syscall.EPIPE) || reset && !isTimeout(err)
		if !gone && !c.closing {
			c.r.t.Errorf("reading frames: %v, %v", err, c.unfinished())
		}
		c.ends(err)
		c.mu.Unlock()
		return
	}
}

// add opens a stream.
func (c *framingClient) add(x *h2Exchange) {
	x.stream, x.window = (c.last+1)|1, c.first
	c.last = x.stream
	c.room.open(x.stream)
	c.streams[x.stream] = x
}

// unfinished are the exchanges that go on.
func (c *framingClient) unfinished() (all []*h2Exchange) {
	for _, x := range c.streams {
		if !x.over() {
			all = append(all, x)
		}
	}
	return all
}

// take acts on a frame. mu is held, as for all that follow.
func (c *framingClient) take(frame http2.Frame) {
	id := frame.Header().StreamID
	x := c.streams[id]
	if x == nil && id != 0 {
		c.r.t.Errorf("%v on a stream that is idle", frame)
		return
	}
	c.room.take(frame)
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			c.acked()
		}
	case *http2.PingFrame:
		switch {
		case f.IsAck() && f.Data[0] == 'S':
			c.streams[binary.BigEndian.Uint32(f.Data[4:])].sealed = true
		case f.IsAck():
			c.trips++
		}
	case *http2.WindowUpdateFrame:
		if x != nil && (x.refused || x.sealed) || c.room.of[id] > h2StreamWindow && id != 0 || c.room.of[id] > h2ConnWindow {
			c.r.t.Errorf("window of %d bytes: %v", c.room.of[id], x)
		}
	case *http2.GoAwayFrame:
		c.told = f.ErrCode != http2.ErrCodeNo
		if c.told && !c.broken {
			c.r.t.Errorf("GOAWAY of %v", f.ErrCode)
		}
	case *http2.RSTStreamFrame:
		x.refuse(f.ErrCode)
	case *http2.MetaHeadersFrame:
		x.answer(f)
	case *http2.DataFrame:
		c.window -= int64(f.Length)
		if c.window < 0 {
			c.r.t.Errorf("%d bytes beyond the connection's window", -c.window)
		}
		c.open(int64(f.Length))
		x.data(f)
	default:
		c.r.t.Errorf("%v", frame)
	}
	c.goOn()
}

// acked notes that the gateway knows our SETTINGS: until then windows may not be smaller.
func (c *framingClient) acked() {
	c.unacked--
	c.widen(-c.shrinks, c.until)
	c.shrinks = 0
}

// widen changes the windows of streams up to last.
func (c *framingClient) widen(by int64, last uint32) {
	for id, x := range c.streams {
		if id <= last {
			x.window += by
			x.open(0)
		}
	}
}

// resize changes the window of streams, and waits until the gateway knows.
func (c *framingClient) resize(size int64) {
	if c.dead != nil || c.broken {
		return
	}
	by := size - c.first
	c.first = size
	if by < 0 {
		c.shrinks, c.until = -by, c.last
	} else {
		c.widen(by, c.last)
	}
	c.unacked++
	_ = c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(size)})
	c.wait(func() bool { return c.unacked == 0 })
}

// trip makes a round trip.
func (c *framingClient) trip() {
	c.pings++
	trip := c.pings
	_ = c.frames.WritePing(false, [8]byte{'T'})
	c.wait(func() bool { return c.trips >= trip })
}

// wait waits until something holds, or the connection is of no use.
func (c *framingClient) wait(holds func() bool) {
	c.changed.Broadcast()
	for !holds() && c.dead == nil && !c.broken {
		c.changed.Wait()
	}
}

// open lets the gateway send more on the connection, where n bytes were used.
func (c *framingClient) open(n int64) {
	if c.frugal && c.window <= 0 {
		n = 1 + c.random.Int64N(65535)
	}
	if !c.broken && n > 0 && (!c.frugal || c.window <= 0) {
		c.window += n
		_ = c.frames.WriteWindowUpdate(0, uint32(n))
	}
}

// goOn ends the pauses of streams when all others wait for that.
func (c *framingClient) goOn() {
	for _, x := range c.streams {
		if !x.over() && !x.pausing() {
			return
		}
	}
	for _, x := range c.streams {
		if !x.over() {
			x.resume()
		}
	}
}

// cut ends the connection once some more bytes were written or read.
func (c *framingClient) cut(x *h2Exchange) {
	if c.how != "" || c.broken {
		return
	}
	c.how = x.leaves
	if x.sending {
		c.outLeft = x.more
	} else {
		c.inLeft = x.more
	}
}

// breaks writes what ends the connection.
func (c *framingClient) breaks(x *h2Exchange) {
	if c.how == "" && !c.broken {
		c.out.WriteString(breaches[x.fault%len(breaches)](x.stream))
		c.broken = true
	}
}
