package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// talk is a client and a server that exchange random messages, and what each ought
// to have got.
type talk struct {
	t     *testing.T
	rng   *rand.Rand
	ends  [2]Conn
	in    [2][]byte // on its way to each
	sides [2]map[uint32]*direction
	open  []uint32
	limit int
}

// direction is one direction of a stream: what was written to it, and what came.
type direction struct {
	head, gotHead         string
	body, gotBody         []byte
	unsent                int // tail of body that was not taken yet
	fin                   bool
	trailers, gotTrailers string
	end, gotEnd           bool
	reset                 bool
	unread                int
}

func (k *talk) dir(side Side, id uint32) *direction {
	d := k.sides[side][id]
	if d == nil {
		d = &direction{}
		k.sides[side][id] = d
	}
	return d
}

func newTalk(t *testing.T, seed uint64) *talk {
	k := &talk{t: t, rng: rand.New(rand.NewPCG(seed, 8)), sides: [2]map[uint32]*direction{{}, {}}, limit: 60}
	for side := range k.ends {
		s := DefaultSettings()
		s.MaxConcurrentStreams = uint32(1 + k.rng.IntN(20))
		s.StreamWindow = uint32(1 + k.rng.IntN(100_000))
		s.ConnWindow = uint32(65535 + k.rng.IntN(100_000))
		s.MaxFrameSize = uint32(16384 + k.rng.IntN(20_000))
		s.TableSize = []uint32{0, 100, 4096, 20_000}[k.rng.IntN(4)]
		s.MaxBuffered = 100 + k.rng.IntN(70_000)
		s.MaxControl = 1 << 20 // small windows are what this is about
		k.ends[side].Init(Side(side), s)
	}
	return k
}

func (k *talk) fields() []Field {
	var fields []Field
	for range k.rng.IntN(6) {
		fields = append(fields, Field{
			Name:  []string{"a", "content-type", "cookie2", "x-long-name"}[k.rng.IntN(4)],
			Value: strings.Repeat("v", k.rng.IntN(1+k.rng.IntN(2000))) + fmt.Sprint(k.rng.IntN(4)),
		})
	}
	return fields
}

// deliver moves some bytes from side to its peer.
func (k *talk) deliver(side Side, n int) {
	from, to := &k.ends[side], 1-side
	n = min(n, len(from.Output()))
	k.in[to] = append(k.in[to], from.Output()[:n]...)
	from.Sent(n)
	for {
		used, e, err := k.ends[to].Next(k.in[to])
		if err != nil {
			k.t.Fatalf("side %d: %v", to, err)
		}
		k.in[to] = k.in[to][used:]
		if e.Kind == None {
			return
		}
		k.event(side, e)
	}
}

// event checks an event that came of what from sent.
func (k *talk) event(from Side, e Event) {
	switch e.Kind {
	case SettingsChanged, Writable, PingAck:
		return
	case StreamReset:
		if e.Reason != "" {
			k.t.Fatalf("stream %d: %s", e.Stream, e.Reason)
		}
		k.dir(from, e.Stream).reset, k.dir(1-from, e.Stream).reset = true, true
		return
	}
	d := k.dir(from, e.Stream)
	switch e.Kind {
	case RequestHead:
		d.gotHead = fmt.Sprint(e.Request.Path, e.Request.Fields)
		k.open = append(k.open, e.Stream)
	case ResponseHead:
		d.gotHead += fmt.Sprint(e.Response.Status, e.Response.Fields)
	case Data:
		d.gotBody = append(d.gotBody, e.Data...)
		d.unread += len(e.Data)
	case Trailers:
		d.gotTrailers = fmt.Sprint(e.Fields)
	default:
		k.t.Fatalf("event %+v", e)
	}
	d.gotEnd = e.End
}

// act does something at random on one side.
func (k *talk) act() {
	side := Side(k.rng.IntN(2))
	c := &k.ends[side]
	switch k.rng.IntN(12) {
	case 0, 1:
		k.openStream()
	case 2, 3, 4:
		k.write(side)
	case 5:
		for id := range k.sides[1-side] {
			k.consume(side, id)
			break
		}
	case 6:
		if len(k.open) > 0 && k.rng.IntN(6) == 0 {
			id := k.open[k.rng.IntN(len(k.open))]
			c.Reset(id, Cancel)
			k.dir(side, id).reset, k.dir(1-side, id).reset = true, true
		}
	case 7:
		c.Ping(3)
	default:
		k.deliver(side, 1+k.rng.IntN(1+k.rng.IntN(30_000)))
	}
}

func (k *talk) consume(side Side, id uint32) {
	d := k.dir(1-side, id)
	k.ends[side].Consumed(id, d.unread)
	d.unread = 0
}

func (k *talk) openStream() {
	c := &k.ends[Client]
	if !c.CanOpen() || c.lastOurs > uint32(2*k.limit) {
		return
	}
	r := &Request{Method: "POST", Scheme: "http", Authority: "a", Path: fmt.Sprint("/", k.rng.IntN(9)), Fields: k.fields(), Length: -1, End: k.rng.IntN(3) == 0}
	id, err := c.OpenRequest(r)
	if err != nil {
		k.t.Fatal(err)
	}
	d := k.dir(Client, id)
	d.head, d.end, d.fin = fmt.Sprint(r.Path, r.Fields), r.End, r.End
}

// write goes on with some stream of side.
func (k *talk) write(side Side) {
	if len(k.open) == 0 {
		return
	}
	id := k.open[k.rng.IntN(len(k.open))]
	d, c := k.dir(side, id), &k.ends[side]
	if d.end || d.reset {
		return
	}
	if d.head == "" {
		r := &Response{Status: 100 + k.rng.IntN(2)*3, Fields: k.fields(), Length: -1}
		d.head = fmt.Sprint(r.Status, r.Fields)
		k.must(c.WriteResponse(id, r))
		r = &Response{Status: 400 + k.rng.IntN(200), Fields: k.fields(), Length: -1}
		d.head += fmt.Sprint(r.Status, r.Fields)
		k.must(c.WriteResponse(id, r))
	}
	if !d.fin && d.unsent == 0 {
		piece := make([]byte, k.rng.IntN(1+k.rng.IntN(50_000)))
		for i := range piece {
			piece[i] = byte(len(d.body) + i + int(id))
		}
		d.body = append(d.body, piece...)
		d.unsent = len(piece)
		d.fin = k.rng.IntN(4) == 0
		if d.fin && k.rng.IntN(2) == 0 {
			d.trailers = fmt.Sprint([]Field{{Name: "t", Value: "1"}})
		}
	}
	k.flush(side, id)
}

// flush writes what was not taken yet, and the end.
func (k *talk) flush(side Side, id uint32) {
	d, c := k.dir(side, id), &k.ends[side]
	if d.end || d.reset || d.head == "" {
		return
	}
	fin := More
	if d.fin && d.trailers == "" {
		fin = Last
	}
	n, err := c.WriteData(id, d.body[len(d.body)-d.unsent:], fin)
	k.must(err)
	d.unsent -= n
	if d.unsent > 0 || !d.fin {
		return
	}
	if d.trailers != "" {
		k.must(c.WriteTrailers(id, []Field{{Name: "t", Value: "1"}}))
	}
	d.end = true
}

func (k *talk) must(err error) {
	if err != nil {
		k.t.Fatal(err)
	}
}

// settle lets both go on until nothing changes any more.
func (k *talk) settle() {
	for range 20_000 {
		for side := range k.sides {
			for id := range k.sides[side] {
				k.flush(Side(side), id)
				k.consume(Side(1-side), id)
			}
			k.deliver(Side(side), 1<<30)
		}
		quiet := len(k.ends[0].Output())+len(k.ends[1].Output()) == 0
		for side := range k.sides {
			for _, d := range k.sides[side] {
				quiet = quiet && (d.unsent == 0 || d.reset) && d.unread == 0
			}
		}
		if quiet {
			return
		}
	}
	k.t.Fatal("they never come to rest")
}

// check compares what came with what was sent.
func (k *talk) check() {
	for side := range k.sides {
		for id, d := range k.sides[side] {
			if d.reset && !bytes.HasPrefix(d.body, d.gotBody) || !d.reset && !bytes.Equal(d.body, d.gotBody) {
				k.t.Fatalf("side %d, stream %d: %d bytes come of %d", side, id, len(d.gotBody), len(d.body))
			}
			if !d.reset && (d.head != d.gotHead || d.trailers != d.gotTrailers || d.end != d.gotEnd) {
				k.t.Fatalf("side %d, stream %d: %+v", side, id, d)
			}
		}
		c := &k.ends[side]
		if c.receive+c.used != int64(c.settings.ConnWindow) {
			k.t.Fatalf("side %d: the connection's window leaks: %d and %d of %d", side, c.receive, c.used, c.settings.ConnWindow)
		}
		if len(c.streams.slots) > 256 {
			k.t.Fatal("the table of streams grows")
		}
	}
}

// FuzzTalk lets a client and a server with random settings do random things. What
// arrives is what was sent, and no window leaks.
func FuzzTalk(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed, uint16(400))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		k := newTalk(t, seed)
		for range steps % 2000 {
			k.act()
		}
		k.settle()
		k.check()
	})
}
