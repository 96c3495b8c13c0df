//go:build linux

package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Player plays the answers of a script over HTTP/2: heads become HEADERS, bodies DATA, and
// trailers of chunked ones HEADERS again. What is no head goes out as it stands, in the place
// of frames. The commands are those of player, but
//
//	^s  send GOAWAY, and finish sending
//	^g  send GOAWAY, and go on with what was asked
//	^x  reset the stream
type h2Player struct {
	*played
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder

	streams map[uint32]*h2Played
	waiting []*h2Played // for an answer
	room    h2Room
}

// h2Played is one stream.
type h2Played struct {
	id     uint32
	answer string
	ended  bool // the request is complete
	reset  bool

	head     strings.Builder // of the request, in words
	body     strings.Builder
	trailers strings.Builder
}

func (s *h2Played) String() string {
	all := fmt.Sprintf("%sbody %q\n%s", &s.head, &s.body, &s.trailers)
	if !s.ended {
		all += unended
	}
	return all
}

// How that ends.
const (
	h2BodyEnd = "\"\n"
	unended   = ", without an end"
)

// serveH2 serves a connection.
func (c *played) serveH2() {
	defer c.conn.Close()
	p := &h2Player{played: c, frames: http2.NewFramer(c.conn, c), streams: map[uint32]*h2Played{}}
	p.room = newH2Room(p.frames)
	p.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.hpack = hpack.NewEncoder(&p.block)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil || p.frames.WriteSettings() != nil {
		return
	}
	for {
		next := -1
		for i, s := range p.waiting {
			if s.ended || strings.HasPrefix(s.answer, "^h") {
				next = i
				break
			}
		}
		if next < 0 {
			if !p.pump() {
				return
			}
			continue
		}
		s := p.waiting[next]
		p.waiting = append(p.waiting[:next], p.waiting[next+1:]...)
		goesOn := p.answerTo(s)
		c.play.busy.Add(-1)
		if !goesOn {
			return
		}
	}
}

// pump reads one frame, and reports false when there will be none.
func (p *h2Player) pump() bool {
	frame, err := p.frames.ReadFrame()
	if err != nil {
		return false
	}
	p.room.take(frame)
	switch f := frame.(type) {
	case *http2.RSTStreamFrame:
		if s := p.streams[f.StreamID]; s != nil {
			s.reset = true
		}
	case *http2.MetaHeadersFrame:
		p.heads(f)
	case *http2.DataFrame:
		s := p.streams[f.StreamID]
		s.body.Write(f.Data())
		s.ended = s.ended || f.StreamEnded()
		if n := uint32(len(f.Data())); n > 0 {
			_ = p.frames.WriteWindowUpdate(0, n)
			_ = p.frames.WriteWindowUpdate(f.StreamID, n)
		}
	}
	return true
}

// heads takes a request, or its trailers.
func (p *h2Player) heads(f *http2.MetaHeadersFrame) {
	s := p.streams[f.StreamID]
	first := s == nil
	if first {
		s = &h2Played{id: f.StreamID, answer: p.play.next()}
		p.streams[s.id] = s
		p.room.open(s.id)
		p.waiting = append(p.waiting, s)
		p.play.busy.Add(1)
		p.play.mu.Lock()
		p.play.streams = append(p.play.streams, s)
		p.play.mu.Unlock()
	}
	p.play.mu.Lock() // what was there before is not read before the end
	defer p.play.mu.Unlock()
	words := &s.trailers
	if first {
		words = &s.head
	}
	for _, field := range f.Fields {
		fmt.Fprintf(words, "%s: %s\n", field.Name, field.Value)
	}
	s.ended = s.ended || f.StreamEnded()
}

// command is one that comes before the byte of an answer with this number.
type command struct {
	at   int
	name byte
}

// parts splits an answer into what is sent and the commands.
func parts(answer string) (text string, commands []command) {
	var b strings.Builder
	for answer != "" {
		plain, rest, found := strings.Cut(answer, "^")
		b.WriteString(plain)
		if !found || rest == "" {
			break
		}
		answer = rest[1:]
		switch rest[0] {
		case '^':
			b.WriteByte('^')
		case 'L':
			b.WriteString(strings.Repeat("x", 100_000))
		default:
			commands = append(commands, command{b.Len(), rest[0]})
		}
	}
	return b.String(), commands
}

// h2Answer is what is left of an answer.
type h2Answer struct {
	*h2Player
	stream   *h2Played
	text     string
	at       int // of text
	commands []command
}

// answerTo plays the answer to one request, and reports whether the connection goes on.
func (p *h2Player) answerTo(s *h2Played) bool {
	a := &h2Answer{h2Player: p, stream: s}
	a.text, a.commands = parts(s.answer)
	for {
		head, _, found := strings.Cut(a.text[a.at:], "\r\n\r\n")
		status := statusOf.FindStringSubmatch(head)
		if !found || status == nil {
			return a.garbage()
		}
		a.at += len(head) + len("\r\n\r\n")
		if !a.obey(a.at - 1) {
			return false
		}
		fields, chunked := p.fieldsOf(head)
		interim := status[1][0] == '1' && status[1] != "101"
		last := !interim && a.at == len(a.text) && len(a.commands) == 0
		if p.headers(s.id, last, append([]string{":status", status[1]}, fields...)) != nil {
			return false
		}
		switch {
		case interim:
			continue
		case last:
			return true
		case chunked:
			return a.chunks()
		}
		return a.rest() && p.frames.WriteData(s.id, true, nil) == nil
	}
}

var statusOf = regexp.MustCompile(`^HTTP/1\.[01] (\d\d\d)`)

// fieldsOf returns names and values, without those that HTTP/2 has no use for.
func (p *h2Player) fieldsOf(head string) (fields []string, chunked bool) {
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch name = strings.ToLower(name); name {
		case "transfer-encoding":
			chunked = true
		case "connection", "keep-alive":
		default:
			fields = append(fields, name, strings.TrimSpace(value))
		}
	}
	return fields, chunked
}

func (p *h2Player) headers(id uint32, last bool, pairs []string) error {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return p.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: last})
}

// garbage sends what is no head in the place of frames; nothing is a stream that is reset.
func (a *h2Answer) garbage() bool {
	if !a.obey(len(a.text)) {
		return false
	}
	if left := a.text[a.at:]; left != "" {
		_, err := io.WriteString(a.conn, left)
		return err == nil
	}
	return a.frames.WriteRSTStream(a.stream.id, http2.ErrCodeInternal) == nil
}

// rest sends a body, with the commands where they stand.
func (a *h2Answer) rest() bool {
	for len(a.commands) > 0 {
		if !a.data(a.text[a.at:max(a.at, a.commands[0].at)]) {
			return false
		}
		a.at = max(a.at, a.commands[0].at)
		if !a.obey(a.at) {
			return false
		}
	}
	return a.data(a.text[a.at:])
}

// chunks sends the payload of a chunked body, then obeys what commands there are, and sends
// the trailers.
func (a *h2Answer) chunks() bool {
	for {
		line, rest, found := strings.Cut(a.text[a.at:], "\r\n")
		size, err := strconv.ParseUint(strings.TrimSpace(strings.Split(line, ";")[0]), 16, 20)
		if !found || err != nil {
			return a.obey(len(a.text)) && a.frames.WriteRSTStream(a.stream.id, http2.ErrCodeInternal) == nil
		}
		if size == 0 {
			a.at = len(a.text)
			trailers, _ := a.fieldsOf("\r\n" + strings.TrimSuffix(rest, "\r\n\r\n"))
			if !a.obey(a.at) {
				return false
			}
			if len(trailers) < 2 || trailers[0] == "" {
				return a.frames.WriteData(a.stream.id, true, nil) == nil
			}
			return a.headers(a.stream.id, true, trailers) == nil
		}
		n := min(int(size), len(rest))
		if !a.data(rest[:n]) {
			return false
		}
		a.at += len(line) + len("\r\n") + n
		a.at += len(a.text[a.at:]) - len(strings.TrimPrefix(a.text[a.at:], "\r\n"))
	}
}

// data sends DATA, as far as there is room.
func (a *h2Answer) data(payload string) bool {
	const most = 16 << 10
	for payload != "" && !a.stream.reset {
		n := min(int64(len(payload)), most, a.room.left(a.stream.id))
		if n <= 0 {
			if !a.pump() {
				return false
			}
			continue
		}
		if a.frames.WriteData(a.stream.id, false, []byte(payload[:n])) != nil {
			return false
		}
		a.room.spend(a.stream.id, n)
		payload = payload[n:]
	}
	return true
}

// obey does what the commands before a byte of the answer say, and reports whether the
// connection goes on.
func (a *h2Answer) obey(before int) bool {
	for len(a.commands) > 0 && a.commands[0].at <= before {
		name := a.commands[0].name
		a.commands = a.commands[1:]
		switch name {
		case 'b':
			for !a.stream.ended && !a.stream.reset {
				if !a.pump() {
					return false
				}
			}
		case 'f':
			f := far{near: netip.MustParseAddrPort(a.conn.LocalAddr().String())}
			f.read(func() bool { return true })
		case 'g':
			_ = a.frames.WriteGoAway(a.stream.id, http2.ErrCodeNo, nil)
		case 'x':
			_ = a.frames.WriteRSTStream(a.stream.id, http2.ErrCodeInternal)
			a.stream.reset = true
		case 's':
			_ = a.frames.WriteGoAway(a.stream.id, http2.ErrCodeNo, nil)
			_ = a.conn.CloseWrite()
			_, _ = io.Copy(io.Discard, a.played)
			return false
		case 'z':
			for a.pump() { // it says nothing more
			}
			return false
		case 'r':
			_ = a.conn.SetLinger(0)
			return false
		case 'c':
			return false
		}
	}
	return true
}
