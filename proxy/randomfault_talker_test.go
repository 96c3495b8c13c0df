package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// talkEnd is an end of what was upgraded. Read returns io.EOF after an orderly end alone.
type talkEnd interface {
	io.ReadWriteCloser
	CloseWrite() error
	leave() error // ends in order what is written; where that can be, all
	reset()
	cut() // is reset but over TLS, where only the goodbye is missing
}

// conversation is what one side does with its end.
type conversation struct {
	talkEnd
	mine, other *talker
	words       string // all that it has to say

	said   int
	heard  bytes.Buffer
	end    error         // why it heard no more
	broken error         // why it could say no more
	opened chan struct{} // closed once the sides have agreed, or not
	enough chan struct{} // ... it has heard all that there is, or its end
	over   chan struct{} // ... it hears no more
}

func newConversation(e talkEnd, mine, other *talker, words string) *conversation {
	return &conversation{
		talkEnd: e, mine: mine, other: other, words: words, said: mine.early,
		opened: make(chan struct{}), enough: make(chan struct{}), over: make(chan struct{}),
	}
}

// talk does all of it. What is early was sent.
func (c *conversation) talk() {
	close(c.opened)
	go c.listen()
	c.speak()
	<-c.over
}

// isNone is called where the sides do not agree.
func (c *conversation) isNone() {
	close(c.opened)
	close(c.enough)
	close(c.over)
}

// listen reads to the end.
func (c *conversation) listen() {
	defer close(c.over)
	p := make([]byte, 20_000)
	rests := c.mine.rests >= 0
	for enough := false; ; {
		if !enough && (c.heard.Len() >= c.other.size || c.end != nil) {
			enough = true
			close(c.enough)
		}
		if c.end != nil {
			return
		}
		var n int
		n, c.end = c.Read(p)
		c.heard.Write(p[:n])
		if rests && c.heard.Len() >= c.mine.rests {
			rests = false
			time.Sleep(c.mine.rest) // the reader that rests itself
		}
	}
}

// speak says what there is to say, and ends as planned.
func (c *conversation) speak() {
	until := c.mine.size
	if c.mine.abrupt() {
		until = max(c.mine.at, c.mine.early)
	}
	for left := c.mine.pieces; left > 0 && c.said < until; left-- {
		n, err := io.WriteString(c, c.words[c.said:c.said+(until-c.said)/left])
		c.said += n
		if c.note(err); err != nil {
			<-c.over
			c.Close()
			return
		}
	}
	defer c.Close()
	switch c.mine.ends {
	case "finishes":
		if _, own := c.talkEnd.(*wireEnd); own {
			<-c.opened // a client that has ended before may be taken for one that is gone
		}
		c.note(c.CloseWrite())
		<-c.over
	case "waits":
		<-c.over
		c.note(c.CloseWrite())
	case "leaves":
		<-c.enough
		c.note(c.leave())
		<-c.over
	case "resets":
		c.reset()
	case "cuts":
		c.cut()
		<-c.over
	}
}

// note keeps the first error of what it says.
func (c *conversation) note(err error) { c.broken = cmp.Or(c.broken, err) }

// wireEnd is a connection of its own.
type wireEnd struct {
	net.Conn
	in *bufio.Reader
}

func (e *wireEnd) Read(p []byte) (int, error) { return e.in.Read(p) }
func (e *wireEnd) CloseWrite() error          { return e.Conn.(closeWriter).CloseWrite() }
func (e *wireEnd) reset()                     { leave(e.Conn, "resets") }

// leave implements talkEnd. Who closes TLS at once resets what has not been read, be it a goodbye.
func (e *wireEnd) leave() error {
	if _, ok := e.Conn.(*tls.Conn); ok {
		return e.CloseWrite()
	}
	return e.Close()
}

func (e *wireEnd) cut() {
	if wire, ok := e.Conn.(*tls.Conn); ok {
		_ = wire.NetConn().(closeWriter).CloseWrite()
		return
	}
	e.reset()
}

// h3End is a stream of HTTP/3.
type h3End struct {
	*quic.Stream
	client *h3Client
	wrecks bool // to reset it ends the connection
	in     quicvarint.Reader
	left   uint64 // of a frame that has begun
}

func (e *h3End) Write(p []byte) (int, error) {
	if _, err := e.Stream.Write(frame(frameData, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (e *h3End) Read(p []byte) (int, error) {
	for e.left == 0 {
		kind, err := quicvarint.Read(e.in)
		if err != nil {
			return 0, err
		}
		if e.left, err = quicvarint.Read(e.in); err != nil {
			return 0, unexpected(err)
		}
		if kind != frameData {
			_, err = io.CopyN(io.Discard, e.in, int64(e.left))
			e.left = 0
			if err != nil {
				return 0, unexpected(err)
			}
		}
	}
	n, err := e.in.Read(p[:min(uint64(len(p)), e.left)])
	e.left -= uint64(n)
	if e.left > 0 {
		err = unexpected(err)
	} else if n > 0 {
		err = nil
	}
	return n, err
}

func (e *h3End) CloseWrite() error { return e.Stream.Close() }
func (e *h3End) leave() error      { return e.CloseWrite() }
func (e *h3End) cut()              { e.reset() }

func (e *h3End) Close() error {
	e.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	return e.Stream.Close()
}

func (e *h3End) reset() {
	if e.wrecks {
		_ = e.client.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return
	}
	e.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	e.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
}

// status reads heads, until the final one.
func (e *h3End) status() (int, error) {
	for {
		kind, payload, err := readFrame(e.in)
		if err != nil {
			return 0, err
		}
		if kind != frameHeaders {
			return 0, http.ErrNotSupported
		}
		next := qpack.NewDecoder().Decode(payload)
		for field, err := next(); err == nil; field, err = next() {
			if status, _ := strconv.Atoi(field.Value); field.Name == ":status" && status >= 200 {
				return status, nil
			}
		}
	}
}
