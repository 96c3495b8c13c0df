package tls13

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"sync"
)

// readAhead is how much of the client's bytes a handshake takes from the socket
// at once: a ClientHello with a post-quantum key share has less than 2 KiB.
const readAhead = 4 << 10

// recorder stands between crypto/tls and the client during a handshake. It notes
// what a Session has to know afterwards, and is transparent from then on.
type recorder struct {
	net.Conn

	// buf[start:end] has been read from Conn, but not by crypto/tls. It is of scratch while
	// there is one.
	buf        []byte
	start, end int
	scratch    *scratch
	framer     framer
	// receive and send are the application's traffic secrets, once crypto/tls has
	// told them.
	receive, send secret
	// sent is what crypto/tls has written since.
	sent []byte
	// done is set after the handshake.
	done bool
}

// scratch is memory that handshakes use one after the other.
type scratch struct {
	in   [readAhead]byte
	sent []byte
}

// lend gives the recorder memory from a pool.
func (r *recorder) lend(pool *sync.Pool) {
	s, ok := pool.Get().(*scratch)
	if !ok {
		s = new(scratch)
	}
	r.scratch, r.buf, r.sent = s, s.in[:], s.sent[:0]
}

// giveBack returns the memory to its pool, unless something is still in it.
func (r *recorder) giveBack(pool *sync.Pool) {
	s := r.scratch
	r.scratch = nil
	if r.start == r.end {
		r.buf = nil
		pool.Put(s)
	}
}

// NetConn returns the connection beneath. What was read ahead from it is missing
// there.
func (r *recorder) NetConn() net.Conn { return r.Conn }

// Read hands out what the client sent, during the handshake at most to the end of
// the current record.
func (r *recorder) Read(p []byte) (int, error) {
	if r.start == r.end {
		if r.done {
			r.buf = nil
			return r.Conn.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := min(len(p), r.end-r.start)
	if !r.done {
		n = r.framer.next(r.buf[r.start:][:n])
	}
	copy(p, r.buf[r.start:][:n])
	r.start += n
	return n, nil
}

// fill reads from the client once.
func (r *recorder) fill() error {
	n, err := r.Conn.Read(r.buf)
	r.start, r.end = 0, n
	if n > 0 {
		return nil // an error comes again with the next Read
	}
	return err
}

// takeUnread returns what crypto/tls has not read, nil if nothing, and leaves nothing. It is a
// copy, as a request often comes with the end of a handshake: that should not cost the scratch.
func (r *recorder) takeUnread() []byte {
	if r.start == r.end {
		return nil
	}
	unread := bytes.Clone(r.buf[r.start:r.end])
	r.start = r.end
	return unread
}

// Write passes p on.
func (r *recorder) Write(p []byte) (int, error) {
	if !r.done && r.send.size > 0 {
		r.sent = append(r.sent, p...)
	}
	return r.Conn.Write(p)
}

// finish makes the recorder transparent and lets go of what it noted.
func (r *recorder) finish(pool *sync.Pool) {
	r.done = true
	r.scratch.sent = r.sent
	r.sent = nil
	r.giveBack(pool)
	r.receive, r.send = secret{}, secret{}
}

// framer finds where records end.
type framer struct {
	header [headerSize]byte
	have   int // bytes of the header
	left   int // bytes of the payload that are still to come, once the header is there
}

// next returns how many bytes of p belong to the current record.
func (f *framer) next(p []byte) int {
	n := copy(f.header[f.have:], p)
	f.have += n
	if f.have < headerSize {
		return n
	}
	if n > 0 {
		f.left = int(binary.BigEndian.Uint16(f.header[3:]))
	}
	payload := min(f.left, len(p)-n)
	f.left -= payload
	if f.left == 0 {
		f.have = 0
	}
	return n + payload
}

// between tells whether a record has ended and the next one not begun.
func (f *framer) between() bool { return f.have == 0 }

// secret is a traffic secret. More than one, or one that makes no sense, is bad.
type secret struct {
	bytes [maxHashSize]byte
	size  int // 0: none yet
	bad   bool
}

func (s *secret) set(hexadecimal []byte) {
	if s.size > 0 || hex.DecodedLen(len(hexadecimal)) > len(s.bytes) {
		s.bad = true
		return
	}
	n, err := hex.Decode(s.bytes[:], hexadecimal)
	s.size, s.bad = n, err != nil
}

// Labels of the key log (RFC 9850 §2).
const (
	labelClientTraffic = "CLIENT_TRAFFIC_SECRET_0"
	labelServerTraffic = "SERVER_TRAFFIC_SECRET_0"
)

// keyLog is the KeyLogWriter of one handshake.
type keyLog struct {
	recorder *recorder
	next     io.Writer // the user's own, or nil
}

// Write takes one line: label, client random, secret.
func (l keyLog) Write(line []byte) (int, error) {
	label, rest, _ := bytes.Cut(line, []byte(" "))
	_, value, _ := bytes.Cut(bytes.TrimSuffix(rest, []byte("\n")), []byte(" "))
	switch string(label) {
	case labelClientTraffic:
		l.recorder.receive.set(value)
	case labelServerTraffic:
		l.recorder.send.set(value)
	}
	if l.next == nil {
		return len(line), nil
	}
	return l.next.Write(line)
}
