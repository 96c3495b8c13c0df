package h2

import "encoding/binary"

// frameKind is the type of a frame (RFC 9113 §6).
type frameKind uint8

const (
	frameData         frameKind = 0x0
	frameHeaders      frameKind = 0x1
	framePriority     frameKind = 0x2
	frameReset        frameKind = 0x3
	frameSettings     frameKind = 0x4
	framePush         frameKind = 0x5
	framePing         frameKind = 0x6
	frameGoAway       frameKind = 0x7
	frameWindow       frameKind = 0x8
	frameContinuation frameKind = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The settings that exist (RFC 9113 §6.5.2, RFC 8441 §3).
const (
	settingTable    = 0x1
	settingPush     = 0x2
	settingStreams  = 0x3
	settingWindow   = 0x4
	settingFrame    = 0x5
	settingHeaders  = 0x6
	settingProtocol = 0x8
)

// frameHeader is how many bytes stand before the payload of a frame.
const frameHeader = 9

// frame is a frame's header (RFC 9113 §4.1).
type frame struct {
	length int
	kind   frameKind
	flags  uint8
	stream uint32
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads a header; p has at least frameHeader bytes.
func parseFrame(p []byte) frame {
	_ = p[frameHeader-1]
	return frame{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:   frameKind(p[3]),
		flags:  p[4],
		stream: binary.BigEndian.Uint32(p[5:]) & maxStream,
	}
}

func appendFrame(dst []byte, f frame) []byte {
	return append(dst, byte(f.length>>16), byte(f.length>>8), byte(f.length), byte(f.kind), f.flags,
		byte(f.stream>>24), byte(f.stream>>16), byte(f.stream>>8), byte(f.stream))
}

func appendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

func appendSetting(dst []byte, id uint16, v uint32) []byte {
	return appendUint32(binary.BigEndian.AppendUint16(dst, id), v)
}
