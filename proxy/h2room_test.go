package proxy

import "golang.org/x/net/http2"

// h2Room is what a peer that writes frames itself has room for: the windows of its connection,
// stream 0, and of the streams that it has opened here (RFC 9113 §6.9). It isn't safe for
// concurrent use.
type h2Room struct {
	frames  *http2.Framer
	of      map[uint32]int64
	initial int64 // of a stream
}

func newH2Room(frames *http2.Framer) h2Room {
	const usual = 65535
	return h2Room{frames: frames, of: map[uint32]int64{0: usual}, initial: usual}
}

func (r *h2Room) open(stream uint32)  { r.of[stream] = r.initial }
func (r *h2Room) close(stream uint32) { delete(r.of, stream) }

// left is how much may be sent on a stream.
func (r *h2Room) left(stream uint32) int64 { return min(r.of[0], r.of[stream]) }

func (r *h2Room) spend(stream uint32, n int64) {
	r.of[0] -= n
	r.of[stream] -= n
}

// take acts on SETTINGS, PING and WINDOW_UPDATE.
func (r *h2Room) take(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return
		}
		if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for stream := range r.of {
				if stream != 0 {
					r.of[stream] += int64(size) - r.initial
				}
			}
			r.initial = int64(size)
		}
		_ = r.frames.WriteSettingsAck()
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = r.frames.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if _, open := r.of[f.StreamID]; open {
			r.of[f.StreamID] += int64(f.Increment)
		}
	}
}
