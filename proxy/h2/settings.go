package h2

// Settings bounds what a peer can make a Conn hold and do, and says what is
// announced to it. The zero value is of no use: start from [DefaultSettings].
type Settings struct {
	// MaxConcurrentStreams is how many streams a client may have open at once, at
	// least 1. More are refused with REFUSED_STREAM. On the client side it bounds
	// what we open, on top of what the peer allows.
	MaxConcurrentStreams uint32
	// StreamWindow is how many bytes of payload a peer may send on one stream
	// before they are Consumed: 1 to 2^31-1.
	StreamWindow uint32
	// ConnWindow is the same for all streams together: 65,535 to 2^31-1. When the
	// readers of some streams stall and hold all of it, all others wait as well.
	ConnWindow uint32
	// MaxFrameSize is the largest payload of a frame we take: 16,384 to 2^24-1.
	MaxFrameSize uint32
	// TableSize is how many bytes of dynamic table we keep for the peer's header
	// blocks, and at most for our own (RFC 7541 §4.2). 0 turns both off.
	TableSize uint32
	// ExtendedConnect announces that CONNECT with :protocol is understood (RFC 8441
	// §3); without it, such requests are malformed. Server only.
	ExtendedConnect bool

	// MaxHeaderBytes bounds a head or trailer section, decoded, with 32 bytes for
	// each field (RFC 9113 §6.5.2): what is beyond is not made into strings, and
	// the event is HeadTooLarge. Twice as many bytes encoded end the connection.
	MaxHeaderBytes int
	// MaxFields bounds the fields of a head or trailer section in the same way,
	// after those of Cookie were joined. Pseudo-header fields do not count.
	MaxFields int
	// MaxContinuations is how many CONTINUATION frames may follow one HEADERS
	// frame (CVE-2024-27316); more end the connection.
	MaxContinuations int
	// MaxResets is how many more streams than it finished a peer may reset before
	// they were answered (CVE-2023-44487), or have reset by what it does wrong
	// (CVE-2025-8671), before the connection ends. Each finished one makes up for
	// two.
	MaxResets int
	// MaxControl is how many frames that bring nothing forward (PING, SETTINGS,
	// PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones and those on closed
	// streams) a peer may send in excess of what its requests, its payload and
	// ours account for, before the connection ends. It also bounds how many
	// answers to such frames wait in Output for a peer that does not read.
	MaxControl int
	// MaxBuffered is how many bytes may wait in Output before WriteData takes no
	// more. Heads, trailers and control frames come on top.
	MaxBuffered int
}

// DefaultSettings returns the settings that suit a public gateway.
//
// 128 streams are what browsers expect at least (RFC 9113 §6.5.2 recommends 100).
// A stream's window of 256 KiB carries 40 Mbit/s over 50 ms, and the connection's
// of 1 MiB is what a client can have us hold. Header limits are those of h1. Heads
// in real use need one CONTINUATION at most. 512 resets are four times all
// streams, so that leaving a busy page is no attack. 64 KiB of output are more
// than a TLS record and a turn of a loop need.
func DefaultSettings() Settings {
	return Settings{
		MaxConcurrentStreams: 128,
		StreamWindow:         256 << 10,
		ConnWindow:           1 << 20,
		MaxFrameSize:         16 << 10,
		TableSize:            4 << 10,
		MaxHeaderBytes:       64 << 10,
		MaxFields:            128,
		MaxContinuations:     16,
		MaxResets:            512,
		MaxControl:           2048,
		MaxBuffered:          64 << 10,
	}
}
