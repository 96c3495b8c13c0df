package h2

// decoder turns header blocks into fields and keeps the dynamic table that the
// peer's encoder wants kept (RFC 7541). It is our own rather than
// golang.org/x/net/http2/hpack, with which the tests compare it, since a table of
// ours can say of each entry what kind of field it is, once, and since strings
// that nobody wants need not be made.
type decoder struct {
	block   []byte // rest of the header block
	scratch []byte // for what is Huffman-coded
	first   bool   // nothing but table sizes has been read of this block

	// The dynamic table is a ring; its length is a power of two. The newest entry
	// is number next-1.
	ring  []entry
	next  uint64
	count uint64
	size  uint64 // of all entries (RFC 7541 §4.1)
	max   uint64 // what the peer's encoder has chosen
	limit uint64 // what it may choose
}

// entry is a field and what it means.
type entry struct {
	name, value string
	kind        kind
}

// entryOverhead is what an entry counts beside its bytes (RFC 7541 §4.1).
const entryOverhead = 32

// defaultTableSize is the size of both tables until anybody says otherwise.
const defaultTableSize = 4096

func (e *entry) size() uint64 { return uint64(len(e.name)+len(e.value)) + entryOverhead }

// reset forgets the table; the ring is kept.
func (d *decoder) reset() {
	clear(d.ring)
	*d = decoder{ring: d.ring, scratch: d.scratch, max: defaultTableSize, limit: defaultTableSize}
}

// start begins a header block.
func (d *decoder) start(block []byte) { d.block, d.first = block, true }

// step is the outcome of decoder.read.
type step uint8

const (
	gotField step = iota
	gotSkipped
	gotEnd
	gotError // a decoding error: COMPRESSION_ERROR
)

// want says whether fields are to be made into strings.
type want uint8

const (
	wantFields want = iota
	wantTable       // only as far as the table needs them
)

// read reads the next field of the block into e. With wantTable, the outcome may
// be gotSkipped, and e is not to be used.
func (d *decoder) read(e *entry, w want) step {
	for len(d.block) > 0 {
		switch b := d.block[0]; {
		case b&0x80 != 0:
			return d.indexed(e)
		case b&0xc0 == 0x40:
			return d.literal(e, 6, wantFields)
		case b&0xe0 == 0x20:
			if !d.resize() {
				return gotError
			}
		default: // without indexing, or never indexed
			return d.literal(e, 4, w)
		}
	}
	return gotEnd
}

func (d *decoder) indexed(e *entry) step {
	i, ok := d.integer(7)
	if !ok || !d.begin() || !d.at(i, e) {
		return gotError
	}
	return gotField
}

// begin notes that a field comes. By then the peer must have acted upon a limit
// that was lowered (RFC 7541 §4.2).
func (d *decoder) begin() bool {
	d.first = false
	return d.max <= d.limit
}

// literal reads the three kinds of literals; the name's index has prefix bits.
func (d *decoder) literal(e *entry, prefix uint, w want) step {
	index := prefix == 6
	i, ok := d.integer(prefix)
	if !ok || !d.begin() {
		return gotError
	}
	var name entry
	d.scratch = d.scratch[:0]
	if i > 0 {
		if !d.at(i, &name) {
			return gotError
		}
	} else if !d.text() {
		return gotError
	}
	nameLen := len(d.scratch)
	if !d.text() {
		return gotError
	}
	if w == wantTable {
		return gotSkipped
	}
	if i > 0 {
		e.name, e.value = name.name, string(d.scratch)
	} else if known := staticName(d.scratch[:nameLen]); known > 0 {
		e.name, _ = staticEntry(known)
		e.value = string(d.scratch[nameLen:])
	} else {
		both := string(d.scratch)
		e.name, e.value = both[:nameLen], both[nameLen:]
	}
	e.kind = classify(e.name, e.value)
	if index {
		d.add(e)
	}
	return gotField
}

// text appends a string literal to scratch (RFC 7541 §5.2).
func (d *decoder) text() bool {
	if len(d.block) == 0 {
		return false
	}
	coded := d.block[0]&0x80 != 0
	n, ok := d.integer(7)
	if !ok || n > uint64(len(d.block)) {
		return false
	}
	s := d.block[:n]
	d.block = d.block[n:]
	if coded {
		d.scratch, ok = appendHuffman(d.scratch, s)
		return ok
	}
	d.scratch = append(d.scratch, s...)
	return true
}

// maxInteger bounds what integer reads: no index, size or length is larger, and
// no more than five bytes are needed.
const maxInteger = 1<<32 - 1

// integer reads a number whose first byte has prefix bits of it (RFC 7541 §5.1).
func (d *decoder) integer(prefix uint) (n uint64, ok bool) {
	top := uint64(1)<<prefix - 1
	n = uint64(d.block[0]) & top
	d.block = d.block[1:]
	if n < top {
		return n, true
	}
	for shift := uint(0); shift < 35 && len(d.block) > 0; shift += 7 {
		b := d.block[0]
		d.block = d.block[1:]
		n += uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return n, n <= maxInteger
		}
	}
	return 0, false
}

// at sets e to the entry with an index of the static or the dynamic table.
func (d *decoder) at(i uint64, e *entry) bool {
	switch {
	case i == 0 || i > staticLen+d.count:
		return false
	case i > staticLen:
		*e = d.ring[(d.next-(i-staticLen))&uint64(len(d.ring)-1)]
	default:
		e.name, e.value = staticEntry(i)
		e.kind = staticKind(i)
	}
	return true
}

// staticKind is classify for an entry of the static table, where it has a value.
func staticKind(i uint64) kind {
	switch {
	case i == 1:
		return pseudoAuthority
	case i <= 3:
		return pseudoMethod
	case i <= 5:
		return pseudoPath
	case i <= 7:
		return pseudoScheme
	case i <= 14:
		return pseudoStatus
	case i == 28:
		return isLength
	case i == 32:
		return isCookie
	case i == 38:
		return isHost
	case i == 57: // transfer-encoding
		return malformed
	}
	return regular
}

// resize reads a change of the table's size, which is allowed before the first
// field of a block only (RFC 7541 §4.2).
func (d *decoder) resize() bool {
	n, ok := d.integer(5)
	if !ok || !d.first || n > d.limit {
		return false
	}
	d.max = n
	d.evict(0)
	return true
}

// evict makes room for size more bytes.
func (d *decoder) evict(size uint64) {
	for d.count > 0 && d.size+size > d.max {
		oldest := &d.ring[(d.next-d.count)&uint64(len(d.ring)-1)]
		d.size -= oldest.size()
		*oldest = entry{}
		d.count--
	}
}

func (d *decoder) add(e *entry) {
	size := e.size()
	d.evict(size)
	if size > d.max {
		return // it has emptied the table instead (RFC 7541 §4.4)
	}
	if d.count == uint64(len(d.ring)) {
		d.grow()
	}
	d.ring[d.next&uint64(len(d.ring)-1)] = *e
	d.next++
	d.count++
	d.size += size
}

// grow doubles the ring.
func (d *decoder) grow() {
	ring := make([]entry, max(16, 2*len(d.ring)))
	for i := uint64(1); i <= d.count; i++ {
		ring[(d.next-i)&uint64(len(ring)-1)] = d.ring[(d.next-i)&uint64(len(d.ring)-1)]
	}
	d.ring = ring
}

// trim lets go of room that a large block needed.
func (d *decoder) trim() {
	d.block = nil
	if cap(d.scratch) > keepBlock {
		d.scratch = nil
	}
}
