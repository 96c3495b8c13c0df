package h2

import (
	"encoding/binary"
	"unsafe"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// encoder writes header blocks and keeps the dynamic table that goes with them
// (RFC 7541).
//
// What enters the table: a field that has been written before, not long ago. So a
// Content-Type is there from the second response on, and a request id, which
// never comes again, does not drive it out; nobody has to list which fields are
// which. Credentials are never indexed (RFC 7541 §7.1.3): on a connection that
// several clients share, the size of a block could tell one about another.
//
// Strings are written as they are. Huffman coding would make a Date six bytes
// shorter, for more time than all else here takes; what comes often is an index.
//
// All lookups go through one small table of hashes, in which a field replaces
// another at times: that costs a few bytes on the wire, and nothing else.
type encoder struct {
	// The dynamic table. Entries lie in ring, whose length is a power of two, the
	// newest is number next-1. Their bytes lie in text, which is moved to its front
	// when it has become twice as long as the table may be.
	ring  []span
	next  uint64
	count uint64
	text  []byte
	size  int // of all entries (RFC 7541 §4.1)
	max   int // what it may be now
	limit int // our own bound on that

	smallest int  // the least that max has been since the last block
	changed  bool // the next block starts with a size update

	seen  [seenSlots]sighting
	lower []byte // the name at hand, in lower case
}

// seenSlots is how many fields are remembered: a few times those that a
// connection uses over and over. A power of two.
const seenSlots = 128

// sighting is a field that was written: its hash, and its number in the table,
// which is too old or 0 if it is not in there.
type sighting struct {
	hash   uint32
	number uint32
}

// span is where an entry lies in text: the name, and behind it the value.
type span struct {
	at, value, end int32
}

// reset forgets the table; buffers are kept. limit bounds the table whatever the
// peer allows.
func (e *encoder) reset(limit int) {
	*e = encoder{ring: e.ring, text: e.text[:0], lower: e.lower, next: 1, max: defaultTableSize, limit: limit, smallest: defaultTableSize}
	if limit < defaultTableSize {
		e.resize(defaultTableSize)
	}
}

// resize sets the size of the table to what the peer allows, or to our own limit.
func (e *encoder) resize(allowed uint32) {
	n := e.limit
	if int64(allowed) < int64(n) {
		n = int(allowed)
	}
	if n == e.max && !e.changed {
		return
	}
	e.max, e.changed = n, true
	e.smallest = min(e.smallest, n)
	e.evict(0)
	e.compact()
}

// begin starts a block: it appends what the peer has to know about the size of
// the table (RFC 7541 §4.2).
func (e *encoder) begin(dst []byte) []byte {
	if !e.changed {
		return dst
	}
	if e.smallest < e.max {
		// Between two updates the table has to be empty for golang.org/x/net, which
		// takes the second for a late one otherwise.
		e.count, e.size = 0, 0
		dst = append(dst, 0x20)
	}
	dst = appendInteger(dst, 0x20, 5, uint64(e.max))
	e.changed, e.smallest = false, e.max
	return dst
}

// setName takes a name in any case to work with; false if it is none.
func (e *encoder) setName(name string) bool {
	var ok bool
	e.lower, ok = h1.AppendLowerName(e.lower[:0], name)
	return ok
}

// append appends a field whose name was set. A value that no field can have
// leaves it out.
func (e *encoder) append(dst []byte, value string) []byte {
	h := hash(hash(uint64(len(e.lower)), e.lower), bytesOf(value))
	h32 := uint32(h>>32) | 1
	slot := &e.seen[h>>8%seenSlots]
	if slot.hash != h32 {
		if other := &e.seen[h>>8%seenSlots^1]; other.hash == h32 || e.index(slot.number) > 0 && e.index(other.number) == 0 {
			slot = other // what is in the table stays if there is a choice
		}
	}
	if slot.hash == h32 {
		if i := e.index(slot.number); i > 0 && e.holds(slot.number, value) {
			return appendInteger(dst, 0x80, 7, i+staticLen)
		}
	}
	if !h1.ValidValue(value) {
		return dst
	}
	name := staticName(e.lower)
	again := slot.hash == h32
	*slot = sighting{hash: h32}
	switch {
	case e.secret():
		dst = e.literal(dst, 0x10, 4, name)
	case again && e.add(value):
		slot.number = uint32(e.next - 1)
		dst = e.literal(dst, 0x40, 6, name)
	default:
		dst = e.literal(dst, 0, 4, name)
	}
	return appendText(dst, bytesOf(value))
}

// literal appends the start of a literal: its name by index or as it is.
func (e *encoder) literal(dst []byte, first byte, prefix uint, name uint64) []byte {
	dst = appendInteger(dst, first, prefix, name)
	if name == 0 {
		dst = appendText(dst, e.lower)
	}
	return dst
}

// secret says whether the name is that of a field with credentials.
func (e *encoder) secret() bool {
	switch string(e.lower) {
	case "authorization", "cookie", "proxy-authorization":
		return true
	}
	return false
}

// index returns the index of an entry in the dynamic table, 0 if it is gone.
// Numbers are those of entries modulo 2^32.
func (e *encoder) index(number uint32) uint64 {
	if age := uint32(e.next) - number; number != 0 && uint64(age) <= e.count {
		return uint64(age)
	}
	return 0
}

// holds says whether an entry is the field at hand.
func (e *encoder) holds(number uint32, value string) bool {
	s := e.ring[int(number)&(len(e.ring)-1)]
	return string(e.text[s.at:s.value]) == string(e.lower) && string(e.text[s.value:s.end]) == value
}

// add puts the field at hand into the table. It says false if it is too large:
// half of the table, for one field that is to replace all others, is.
func (e *encoder) add(value string) bool {
	size := len(e.lower) + len(value) + entryOverhead
	if size > e.max/2 {
		return false
	}
	e.evict(size)
	if e.count == uint64(len(e.ring)) {
		e.grow()
	}
	if len(e.text)+size > 2*e.max {
		e.compact()
	}
	at := int32(len(e.text))
	e.text = append(append(e.text, e.lower...), value...)
	e.ring[e.next&uint64(len(e.ring)-1)] = span{at: at, value: at + int32(len(e.lower)), end: int32(len(e.text))}
	e.next++
	e.count++
	e.size += size
	return true
}

// evict makes room for size more bytes.
func (e *encoder) evict(size int) {
	for e.count > 0 && e.size+size > e.max {
		oldest := e.ring[(e.next-e.count)&uint64(len(e.ring)-1)]
		e.size -= int(oldest.end-oldest.at) + entryOverhead
		e.count--
	}
}

// compact moves the bytes of the entries to the front of text.
func (e *encoder) compact() {
	if e.count == 0 {
		e.text = e.text[:0]
		return
	}
	mask := uint64(len(e.ring) - 1)
	from := e.ring[(e.next-e.count)&mask].at
	e.text = e.text[:copy(e.text, e.text[from:])]
	for i := e.next - e.count; i != e.next; i++ {
		s := &e.ring[i&mask]
		s.at, s.value, s.end = s.at-from, s.value-from, s.end-from
	}
}

// grow doubles the ring.
func (e *encoder) grow() {
	ring := make([]span, max(16, 2*len(e.ring)))
	for i := e.next - e.count; i != e.next; i++ {
		ring[i&uint64(len(ring)-1)] = e.ring[i&uint64(len(e.ring)-1)]
	}
	e.ring = ring
}

// hash mixes s into h, eight bytes at a time.
func hash(h uint64, s []byte) uint64 {
	const k = 0x9e3779b97f4a7c15
	for len(s) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(s)) * k
		h ^= h >> 29
		s = s[8:]
	}
	var w uint64
	for i, c := range s {
		w |= uint64(c) << (8 * i)
	}
	h = (h ^ w ^ uint64(len(s))<<60) * k
	return h ^ h>>32
}

// bytesOf returns the bytes of s, which are not to be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// appendText appends a string literal (RFC 7541 §5.2).
func appendText(dst, s []byte) []byte {
	return append(appendInteger(dst, 0, 7, uint64(len(s))), s...)
}

// appendInteger appends n with a prefix, below the bits of first (RFC 7541 §5.1).
func appendInteger(dst []byte, first byte, prefix uint, n uint64) []byte {
	top := uint64(1)<<prefix - 1
	if n < top {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(top))
	for n -= top; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
