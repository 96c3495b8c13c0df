package tunnel

import (
	"bufio"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
	"github.com/lintel-dev/lintel/internal/edgewire"
	"github.com/quic-go/quic-go"
)

// maxIdleWorkers is how many workers of a connection wait for streams.
const maxIdleWorkers = 64

// quicWorker serves streams one after the other: its goroutine's stack has grown to what
// that needs, and its buffers have.
type quicWorker struct {
	conn *quicConnection
	in   *bufio.Reader
	head *quicHead
}

func newQUICWorker(c *quicConnection) *quicWorker {
	w := &quicWorker{conn: c}
	w.renew()
	return w
}

func (w *quicWorker) renew() {
	w.in = bufio.NewReaderSize(nil, usualHead)
	w.head = newQUICHead(w.in)
}

// run serves a stream and then others, until there are no more, or enough wait for them.
func (w *quicWorker) run(stream *quic.Stream, streams <-chan *quic.Stream) {
	for stream != nil {
		w.serve(stream)
		w.conn.link.leave()
		if w.conn.idle.Add(1) > maxIdleWorkers {
			w.conn.idle.Add(-1)
			return
		}
		stream = <-streams
		w.conn.idle.Add(-1)
	}
}

// serve serves one stream of the edge's: a request, or a call.
func (w *quicWorker) serve(stream *quic.Stream) {
	w.in.Reset(stream)
	s := &quicStream{Stream: stream, in: w.in, conn: w.conn.conn}
	if !w.serveKind(s) {
		stream.CancelWrite(0) // the client must see that it is not all
	}
	stream.CancelRead(0)
	_ = s.end() // the connection may be gone
	if w.head.spent {
		w.renew()
	} else {
		w.in.Reset(nil)
	}
}

// serveKind serves what a stream is for. It reports false if the stream has to be reset.
func (w *quicWorker) serveKind(s *quicStream) bool {
	signature, err := w.in.Peek(len(edgewire.DataSignature))
	if err != nil {
		return false
	}
	if string(signature) != edgewire.DataSignature {
		w.head.spent = true // who is given the stream may hold on to it
		server := rpcquic.NewCloudflaredServer(nil, noSessions{}, w.conn, registerTimeout)
		call := &callStream{quicStream: s, signature: len(signature), messages: messages{from: s, accept: acceptCall}}
		return server.Serve(s.Context(), call) == nil
	}
	_, _ = w.in.Discard(len(signature)) // it is there
	if err := w.head.read(); err != nil {
		return false
	}
	if w.head.kind != pogs.ConnectionTypeHTTP {
		w.head.spent = true // as above
	}
	if w.head.kind == pogs.ConnectionTypeTCP {
		s.accepts = true
		w.conn.link.session.config.Handler.ServeStream(s, w.head.dest)
		return s.refuse() == nil
	}
	return w.conn.link.session.config.Handler.ServeRequest(s, &w.head.request)
}
