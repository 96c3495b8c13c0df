package h2

// The Huffman code of HPACK (RFC 7541 Appendix B) is canonical: codes of one
// length are consecutive numbers in the order of their symbols, and longer codes
// are greater when both are filled up on the right. So the length of a code
// follows from comparing it with where each length ends, and its symbol from how
// far it is behind the first code of that length.

// shortSymbols has the symbol of a code of up to 8 bits at each byte that starts
// with it. No other code starts with a byte below shortEnd.
const shortSymbols = "" +
	"\x30\x30\x30\x30\x30\x30\x30\x30\x31\x31\x31\x31\x31\x31\x31\x31" +
	"\x32\x32\x32\x32\x32\x32\x32\x32\x61\x61\x61\x61\x61\x61\x61\x61" +
	"\x63\x63\x63\x63\x63\x63\x63\x63\x65\x65\x65\x65\x65\x65\x65\x65" +
	"\x69\x69\x69\x69\x69\x69\x69\x69\x6f\x6f\x6f\x6f\x6f\x6f\x6f\x6f" +
	"\x73\x73\x73\x73\x73\x73\x73\x73\x74\x74\x74\x74\x74\x74\x74\x74" +
	"\x20\x20\x20\x20\x25\x25\x25\x25\x2d\x2d\x2d\x2d\x2e\x2e\x2e\x2e" +
	"\x2f\x2f\x2f\x2f\x33\x33\x33\x33\x34\x34\x34\x34\x35\x35\x35\x35" +
	"\x36\x36\x36\x36\x37\x37\x37\x37\x38\x38\x38\x38\x39\x39\x39\x39" +
	"\x3d\x3d\x3d\x3d\x41\x41\x41\x41\x5f\x5f\x5f\x5f\x62\x62\x62\x62" +
	"\x64\x64\x64\x64\x66\x66\x66\x66\x67\x67\x67\x67\x68\x68\x68\x68" +
	"\x6c\x6c\x6c\x6c\x6d\x6d\x6d\x6d\x6e\x6e\x6e\x6e\x70\x70\x70\x70" +
	"\x72\x72\x72\x72\x75\x75\x75\x75\x3a\x3a\x42\x42\x43\x43\x44\x44" +
	"\x45\x45\x46\x46\x47\x47\x48\x48\x49\x49\x4a\x4a\x4b\x4b\x4c\x4c" +
	"\x4d\x4d\x4e\x4e\x4f\x4f\x50\x50\x51\x51\x52\x52\x53\x53\x54\x54" +
	"\x55\x55\x56\x56\x57\x57\x59\x59\x6a\x6a\x6b\x6b\x71\x71\x76\x76" +
	"\x77\x77\x78\x78\x79\x79\x7a\x7a\x26\x2a\x2c\x3b\x58\x5a\x00\x00"

// longSymbols has the symbols of the codes of more than 8 bits, in order.
const longSymbols = "" +
	"\x21\x22\x28\x29\x3f\x27\x2b\x7c\x23\x3e\x00\x24\x40\x5b\x5d\x7e" +
	"\x5e\x7d\x3c\x60\x7b\x5c\xc3\xd0\x80\x82\x83\xa2\xb8\xc2\xe0\xe2" +
	"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6\x81\x84\x85" +
	"\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb" +
	"\xbd\xbe\xc4\xc6\xe4\xe8\xe9\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93" +
	"\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc" +
	"\xbf\xc5\xe7\xef\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed" +
	"\xc7\xcf\xea\xeb\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0" +
	"\xf2\xf3\xff\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7" +
	"\xf8\xfa\xfb\xfc\xfd\xfe\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e" +
	"\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f" +
	"\x7f\xdc\xf9\x0a\x0d\x16"

// shortEnd is the first byte that no code of up to 8 bits starts with.
const shortEnd = 0xfe

// shortLength returns the bits of the code that starts with b < shortEnd.
func shortLength(b byte) uint {
	switch {
	case b < 0x50:
		return 5
	case b < 0xb8:
		return 6
	case b < 0xf8:
		return 7
	default:
		return 8
	}
}

// longCode returns the symbol and the bits of the code at the top of w, which is
// one of more than 8 bits; 0 bits for the end of string, which is not allowed.
func longCode(w uint32) (symbol byte, bits uint) {
	var first uint32 // code of this length, at the top
	var index uint32 // in longSymbols
	switch {
	case w < 0xff400000:
		bits, first, index = 10, 0xfe000000, 0
	case w < 0xffa00000:
		bits, first, index = 11, 0xff400000, 5
	case w < 0xffc00000:
		bits, first, index = 12, 0xffa00000, 8
	case w < 0xfff00000:
		bits, first, index = 13, 0xffc00000, 10
	case w < 0xfff80000:
		bits, first, index = 14, 0xfff00000, 16
	case w < 0xfffe0000:
		bits, first, index = 15, 0xfff80000, 18
	case w < 0xfffe6000:
		bits, first, index = 19, 0xfffe0000, 21
	case w < 0xfffee000:
		bits, first, index = 20, 0xfffe6000, 24
	case w < 0xffff4800:
		bits, first, index = 21, 0xfffee000, 32
	case w < 0xffffb000:
		bits, first, index = 22, 0xffff4800, 45
	case w < 0xffffea00:
		bits, first, index = 23, 0xffffb000, 71
	case w < 0xfffff600:
		bits, first, index = 24, 0xffffea00, 100
	case w < 0xfffff800:
		bits, first, index = 25, 0xfffff600, 112
	case w < 0xfffffbc0:
		bits, first, index = 26, 0xfffff800, 116
	case w < 0xfffffe20:
		bits, first, index = 27, 0xfffffbc0, 131
	case w < 0xfffffff0:
		bits, first, index = 28, 0xfffffe20, 150
	case w < 0xfffffffc:
		bits, first, index = 30, 0xfffffff0, 179
	default:
		return 0, 0
	}
	return longSymbols[index+(w-first)>>(32-bits)], bits
}

// appendHuffman appends to dst what src encodes. It says false if src holds the
// end of string, or ends in anything but the start of that, shorter than a byte
// (RFC 7541 §5.2).
func appendHuffman(dst, src []byte) ([]byte, bool) {
	var acc uint64 // its low bits are those not decoded yet
	var have uint  // how many
	for {
		for have <= 56 && len(src) > 0 {
			acc = acc<<8 | uint64(src[0])
			have += 8
			src = src[1:]
		}
		if have == 0 {
			return dst, true
		}
		w := uint32(acc << (64 - have) >> 32)
		if have < 32 {
			w |= 1<<(32-have) - 1
		}
		var symbol byte
		var bits uint
		if b := byte(w >> 24); b < shortEnd {
			symbol, bits = shortSymbols[b], shortLength(b)
		} else if symbol, bits = longCode(w); bits == 0 {
			return dst, have < 8 && w == 1<<32-1
		}
		if bits > have {
			return dst, false
		}
		dst = append(dst, symbol)
		have -= bits
	}
}
