package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Client is a client's connection over HTTP/2 whose streams go on beside each other. One
// goroutine reads it, and one writes what gathers in out.
type h2Client struct {
	conn    net.Conn
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	frames  *http2.Framer // of which only the reader reads
	out     bytes.Buffer
	block   bytes.Buffer
	hpack   *hpack.Encoder
	streams map[uint32]*h2End
	room    h2Room
	err     error // nothing more comes
}

// h2End is one of its streams.
type h2End struct {
	c      *h2Client
	id     uint32
	wrecks bool // to reset it ends the connection

	// Guarded by c.mu.
	code   int // the final status, 0 before it came
	in     bytes.Buffer
	ended  bool  // the peer has ended it
	closed bool  // we have
	err    error // it is over
}

func (g *gateway) dialH2Client() (*h2Client, error) {
	conn, err := g.dialForH2()
	if err != nil {
		return nil, err
	}
	c := &h2Client{conn: conn, streams: map[uint32]*h2End{}}
	c.changed.L = &c.mu
	c.frames, c.hpack = http2.NewFramer(&c.out, conn), hpack.NewEncoder(&c.block)
	c.room = newH2Room(c.frames)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.out.WriteString(http2.ClientPreface)
	_ = c.frames.WriteSettings()
	c.running.Go(c.write)
	c.running.Go(c.read)
	return c, nil
}

// close ends the connection once all is out, and waits for the gateway to do so: who closes at once
// resets what has not been read, and loses what has not been sent.
func (c *h2Client) close() {
	c.mu.Lock()
	c.fail(net.ErrClosed)
	c.mu.Unlock()
	c.running.Wait()
	c.conn.Close()
}

// fail notes that nothing more comes. mu is held.
func (c *h2Client) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.changed.Broadcast()
}

func (c *h2Client) write() {
	defer func() { _ = c.conn.(closeWriter).CloseWrite() }()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.out.Len() == 0 {
			if c.err != nil {
				return
			}
			c.changed.Wait()
		}
		p := bytes.Clone(c.out.Bytes())
		c.out.Reset()
		c.mu.Unlock()
		_, err := c.conn.Write(p)
		c.mu.Lock()
		if err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *h2Client) read() {
	for {
		frame, err := c.frames.ReadFrame()
		c.mu.Lock()
		if err != nil {
			c.fail(unexpected(err))
			c.mu.Unlock()
			return
		}
		c.take(frame)
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// unexpected is the error when an end comes too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take acts on a frame. mu is held.
func (c *h2Client) take(frame http2.Frame) {
	c.room.take(frame)
	e := c.streams[frame.Header().StreamID]
	switch f := frame.(type) {
	case *http2.RSTStreamFrame:
		if e != nil && e.err == nil {
			e.err = fmt.Errorf("reset with %v", f.ErrCode)
		}
	case *http2.MetaHeadersFrame:
		if code, _ := strconv.Atoi(f.PseudoValue("status")); e != nil && code >= 200 {
			e.code = code
		}
		if e != nil {
			e.ended = f.StreamEnded()
		}
	case *http2.DataFrame:
		if n := uint32(len(f.Data())); n > 0 {
			_ = c.frames.WriteWindowUpdate(0, n)
		}
		if e != nil {
			e.in.Write(f.Data())
			e.ended = f.StreamEnded()
		}
	}
}

// open sends a head, and payload in the same piece; ends says that this is all.
func (e *h2End) open(early string, ends bool, fields ...string) error {
	c := e.c
	c.mu.Lock()
	defer c.mu.Unlock()
	e.id, e.closed = uint32(2*len(c.streams)+1), ends
	c.streams[e.id] = e
	c.room.open(e.id)
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: e.id, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: ends})
	c.changed.Broadcast()
	_, err := e.give(early)
	return err
}

// status waits for the final head.
func (e *h2End) status() (int, error) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for e.code == 0 {
		if err := e.failure(); err != nil {
			return 0, err
		}
		e.c.changed.Wait()
	}
	return e.code, nil
}

// failure says why nothing more comes. mu is held.
func (e *h2End) failure() error {
	if e.err != nil {
		return e.err
	}
	return e.c.err
}

func (e *h2End) Read(p []byte) (int, error) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	for e.in.Len() == 0 {
		if e.ended {
			return 0, io.EOF
		}
		if err := e.failure(); err != nil {
			return 0, err
		}
		e.c.changed.Wait()
	}
	n, _ := e.in.Read(p)
	if !e.ended && e.err == nil {
		_ = e.c.frames.WriteWindowUpdate(e.id, uint32(n))
		e.c.changed.Broadcast()
	}
	return n, nil
}

func (e *h2End) Write(p []byte) (int, error) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	return e.give(string(p))
}

// give sends payload as there is room for it. mu is held, but not while it waits.
func (e *h2End) give(p string) (int, error) {
	given := 0
	for given < len(p) {
		if err := e.failure(); err != nil {
			return given, err
		}
		n := int(min(int64(len(p)-given), e.c.room.left(e.id), 16<<10))
		if n <= 0 {
			e.c.changed.Wait()
			continue
		}
		_ = e.c.frames.WriteData(e.id, false, []byte(p[given:given+n]))
		e.c.room.spend(e.id, int64(n))
		given += n
		e.c.changed.Broadcast()
	}
	return given, nil
}

// finish sends END_STREAM. mu is held.
func (e *h2End) finish() error {
	err := e.failure()
	if err == nil && !e.closed {
		e.closed = true
		err = e.c.frames.WriteData(e.id, true, nil)
		e.c.changed.Broadcast()
	}
	return err
}

// stop sends RST_STREAM, unless the stream is over. mu is held.
func (e *h2End) stop() {
	if e.failure() == nil && e.id != 0 && !(e.ended && e.closed) {
		_ = e.c.frames.WriteRSTStream(e.id, http2.ErrCodeCancel)
	}
	if e.err == nil {
		e.err = net.ErrClosed
	}
	e.c.changed.Broadcast()
}

func (e *h2End) CloseWrite() error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	return e.finish()
}

func (e *h2End) Close() error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	err := e.finish()
	e.stop()
	return err
}

func (e *h2End) leave() error { return e.CloseWrite() }
func (e *h2End) cut()         { e.reset() }

func (e *h2End) reset() {
	if e.wrecks {
		leave(e.c.conn, "resets")
	}
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.stop()
}
