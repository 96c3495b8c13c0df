package h2

// stream is one open stream (RFC 9113 §5.1). A stream that is not in the table is
// idle if its id is above the last one seen or opened, and closed otherwise.
type stream struct {
	id    uint32
	state state

	send    int64 // window: what the peer lets us send; may be negative (RFC 9113 §6.9.2)
	receive int64 // window: what the peer may still send
	used    int64 // bytes Consumed that the peer does not know of yet

	left int64 // payload to come by Content-Length, -1 if that is not known
}

// state is a set of facts about a stream.
type state uint8

const (
	theirsEnded state = 1 << iota // the peer has sent END_STREAM
	oursEnded                     // we have
	theirHead                     // the peer's final head has come
	ourHead                       // our final head is written
	bodyless                      // the response has no payload whatever it says: to HEAD
	connect                       // the exchange is a CONNECT: payload is a tunnel's
	blocked                       // WriteData could not take all for the stream's window
)

func (s *stream) has(f state) bool { return s.state&f != 0 }

// streams finds records by id. It is an open-addressing table, at most half full,
// whose hash is the id itself: ids are handed out one by one, so that streams
// rarely meet. Records are reused.
type streams struct {
	slots []*stream // length is a power of two, or 0
	free  []*stream
	n     int
}

// minSlots is the length that a table starts with.
const minSlots = 16

func (t *streams) home(id uint32) int { return int(id>>1) & (len(t.slots) - 1) }

// find returns the record with an id, nil if there is none.
func (t *streams) find(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	for i := t.home(id); t.slots[i] != nil; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].id == id {
			return t.slots[i]
		}
	}
	return nil
}

// add returns a new record. There is none with this id yet.
func (t *streams) add(id uint32) *stream {
	if 2*(t.n+1) > len(t.slots) {
		t.grow()
	}
	var s *stream
	if last := len(t.free) - 1; last >= 0 {
		s, t.free = t.free[last], t.free[:last]
	} else {
		s = new(stream)
	}
	*s = stream{id: id}
	t.put(s)
	t.n++
	return s
}

func (t *streams) put(s *stream) {
	i := t.home(s.id)
	for t.slots[i] != nil {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = s
}

func (t *streams) grow() {
	old := t.slots
	t.slots = make([]*stream, max(minSlots, 2*len(old)))
	for _, s := range old {
		if s != nil {
			t.put(s)
		}
	}
}

// remove takes a record out. Those behind it move up, so that no search ends at
// the gap.
func (t *streams) remove(s *stream) {
	mask := len(t.slots) - 1
	gap := t.home(s.id)
	for t.slots[gap] != s {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; t.slots[i] != nil; i = (i + 1) & mask {
		if (i-t.home(t.slots[i].id))&mask >= (i-gap)&mask {
			t.slots[gap], gap = t.slots[i], i
		}
	}
	t.slots[gap] = nil
	t.free = append(t.free, s)
	t.n--
}

// reset removes all records.
func (t *streams) reset() {
	for i, s := range t.slots {
		if s != nil {
			t.free = append(t.free, s)
			t.slots[i] = nil
		}
	}
	t.n = 0
}

// recent remembers the last ids of closed streams that were put into it, of those
// that make a difference to what a late frame means.
type recent struct {
	ids  []uint32
	next int
}

// add remembers id, and forgets the oldest if there are limit of them.
func (r *recent) add(id uint32, limit int) {
	if len(r.ids) < limit {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.next] = id
	r.next = (r.next + 1) % limit
}

func (r *recent) has(id uint32) bool {
	for _, known := range r.ids {
		if known == id {
			return true
		}
	}
	return false
}

func (r *recent) reset() { r.ids, r.next = r.ids[:0], 0 }
