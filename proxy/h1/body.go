package h1

import (
	"bytes"
	"slices"
)

// maxExtension bounds the extensions of one chunk, in bytes. Hardly anybody
// sends them and nobody reads them (RFC 9112 §7.1.1).
const maxExtension = 256

// maxChunkDigits bounds the leading zeros of a chunk size, and maxChunkSize its
// value: adding a digit to less can't overflow.
const (
	maxChunkDigits = 16
	maxChunkSize   = 1<<63 - 1
)

// keptTrailer is how many bytes of room for trailers a Body keeps from one
// message to the next: enough for usual ones, but not what a peer can ask for.
const keptTrailer = 1 << 10

// Body finds the payload of one message after the other in the bytes that
// follow their heads. The zero Body is done.
type Body struct {
	state  state
	fault  fault // why the body is refused; it stays so
	extent int   // digits of the size, or bytes of extension, so far
	left   int64 // bytes of payload left of the body or the chunk
	lim    Limits

	trailer  []byte   // the trailer section as it came, and what its strings alias
	line     int      // start of the trailer line that is still incomplete
	section  *section // its fields; nil until there was one: few messages have any
	trailers []Field
}

type state uint8

const (
	done           state = iota
	sized                // payload of a known length
	unbounded            // payload until the peer closes
	chunkSize            // at a hexadecimal digit
	chunkData            // payload of a chunk
	dataCR               // at the CR after a chunk's payload
	dataLF               // ... and its LF
	sizeLF               // at the LF that ends a size line
	inTrailer            // in the trailer section
	firstExtension       // in the extensions of a chunk: see extension.go
)

// Reset readies b for the body of a message with the given framing; length is
// read with [Length] only. Trailers returned before are gone.
func (b *Body) Reset(f Framing, length int64, lim *Limits) {
	b.fault, b.extent, b.left, b.lim = none, 0, 0, *lim
	b.trailer, b.trailers, b.line = b.trailer[:0], nil, 0
	if cap(b.trailer) > keptTrailer {
		b.trailer = nil
	}
	switch f {
	case NoBody:
		b.state = done
	case Length:
		b.left = length
		b.state = sized
		if length == 0 {
			b.state = done
		}
	case Chunked:
		b.state = chunkSize
	case UntilClose:
		b.state = unbounded
	}
}

// Done says whether the body has ended. Bytes that Next did not consume belong
// to the next message.
func (b *Body) Done() bool { return b.state == done }

// Trailers returns the trailer fields of a chunked body that is done, without
// those that may not stand there (see [Trailing]). They are valid until Reset.
func (b *Body) Trailers() []Field { return b.trailers }

// DropTrailers takes the trailers out for which drop holds.
func (b *Body) DropTrailers(drop func(Field) bool) {
	b.trailers = slices.DeleteFunc(b.trailers, drop)
}

// Next consumes n bytes from the start of in; data is the part of them that is
// payload, and aliases in. There may be more in in[n:]: the caller goes on until
// n is 0, or the body is done. err is an [*Error] with the status for a request;
// it comes once all data before the mistake is out, and stays.
//
// n counts framing too. Who bounds what a peer may send without reading it
// counts n, not data, since a chunk of one byte can have 300 bytes of framing.
func (b *Body) Next(in []byte) (n int, data []byte, err error) {
	if b.fault != none {
		return 0, nil, b.fault.inRequest()
	}
	for n < len(in) {
		switch b.state {
		case done:
			return n, nil, nil
		case unbounded:
			return len(in), in, nil
		case sized, chunkData:
			k := int(min(int64(len(in)-n), b.left))
			data = in[n : n+k : n+k]
			b.take(k)
			return n + k, data, nil
		case chunkSize:
			n += b.digits(in[n:])
		case inTrailer:
			n += b.trailerLine(in[n:])
		default:
			b.delimiter(in[n])
			n++
		}
		if b.fault != none {
			return n, nil, b.fault.inRequest()
		}
	}
	return n, nil, nil
}

// EOF tells b that the peer has closed. It returns nil if the body was done, or
// ends so; else an [*Error].
func (b *Body) EOF() error {
	switch {
	case b.fault != none:
	case b.state == unbounded:
		b.state = done
	case b.state != done:
		b.fault = truncated
	}
	return b.fault.inRequest()
}

// take consumes k bytes of payload.
func (b *Body) take(k int) {
	b.left -= int64(k)
	if b.left > 0 {
		return
	}
	if b.state == sized {
		b.state = done
	} else {
		b.state = dataCR
	}
}

// digits reads a chunk size up to and with the byte after it.
func (b *Body) digits(in []byte) int {
	for i, c := range in {
		d := hexDigit(c)
		if d < 0 {
			b.endSize(c)
			return i + 1
		}
		if b.extent == maxChunkDigits || b.left > maxChunkSize>>4 {
			b.fault = bigChunk
			return i + 1
		}
		b.extent++
		b.left = b.left<<4 | int64(d)
	}
	return len(in)
}

// endSize reads the byte after a chunk size.
func (b *Body) endSize(c byte) {
	switch {
	case b.extent == 0:
		b.fault = badChunkSize
	case c == '\r':
		b.state = sizeLF
	default:
		b.extent = 0
		b.state = beforeSemicolon
		b.delimiter(c)
	}
}

// delimiter reads a byte that is neither payload, size nor trailer.
func (b *Body) delimiter(c byte) {
	switch b.state {
	case dataCR:
		b.expect(c, '\r', dataLF)
	case dataLF:
		b.expect(c, '\n', chunkSize)
		b.extent = 0
	case sizeLF:
		next := chunkData
		if b.left == 0 {
			next = inTrailer
		}
		b.expect(c, '\n', next)
	default:
		b.extend(c)
	}
}

func (b *Body) expect(c, want byte, next state) {
	if c != want {
		b.fault = badChunkEnd
		return
	}
	b.state = next
}

// trailerLine keeps bytes of the trailer section up to the end of a line, or all
// there are. The line that is empty ends the section and the body.
func (b *Body) trailerLine(in []byte) int {
	n := bytes.IndexByte(in, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(in)
	}
	if len(b.trailer)+n > b.lim.Head {
		b.fault = longTrailers
		return n
	}
	b.trailer = append(b.trailer, in[:n]...)
	if !whole {
		return n
	}
	switch line := b.trailer[b.line:]; {
	case len(line) == 1 || line[len(line)-2] != '\r':
		b.fault = badLineEnd
	case len(line) == len("\r\n"):
		b.endTrailer()
	}
	b.line = len(b.trailer)
	return n
}

// endTrailer reads the fields of the whole trailer section.
func (b *Body) endTrailer() {
	if b.section == nil {
		b.section = new(section)
	}
	b.section.forget()
	_, f := b.section.parse(b.trailer, &b.lim)
	switch {
	case f == manyFields:
		b.fault = manyTrailers
	case f != none:
		b.fault = f
	case b.section.seen&(seenHost|seenLength|seenChunked) != 0:
		b.fault = badTrailer
	default:
		b.state = done
		b.trailers = slices.DeleteFunc(b.section.fields, func(f Field) bool { return !Trailing(f.Name) })
	}
}

// hexDigit returns the value of c, or a negative number.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	default:
		return -1
	}
}
