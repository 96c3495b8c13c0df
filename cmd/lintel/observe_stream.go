package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/lintel-dev/lintel/observe"
)

const (
	// observePath is where the admin port streams records.
	observePath = "/observe"
	// observeWriteTimeout ends a follower that reads nothing.
	observeWriteTimeout = time.Minute
	// observeBatch is how many records may go out before they are flushed.
	observeBatch = 256
)

// recordStream answers with the records of a Stream, one in a line as JSON. It tells of
// clients and paths: those who ask from outside of the machine are refused.
type recordStream struct {
	stream *observe.Stream // nil when records are off
	names  *names
}

func (s *recordStream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !local(r) {
		answer(w, http.StatusForbidden, "records are told to this machine, or in the same Pod, alone: run lintel observe there\n")
		return
	}
	if s.stream == nil {
		answer(w, http.StatusNotFound, "no records are kept: the setting observe-records is 0\n")
		return
	}
	query, err := observe.ParseQuery(r.URL.Query(), time.Now())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	follower, err := s.stream.Follow()
	if err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	defer follower.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out := &recordWriter{encoder: json.NewEncoder(w), control: http.NewResponseController(w)}
	s.send(r.Context(), &query, follower, out)
}

// local reports whether r comes from this machine. A Unix socket has no address.
func local(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || at.Addr().Unmap().IsLoopback()
}

// send sends what is wanted until ctx ends, which it does with the client and with the
// server, or there is nothing more to come.
func (s *recordStream) send(ctx context.Context, query *observe.Query, follower *observe.Follower, out *recordWriter) {
	var past []observe.Record
	for range follower.Backlog() {
		if record, ok := follower.Next(); ok {
			s.names.index().complete(&record)
			past = append(past, record)
		}
	}
	for _, record := range query.Past(past) {
		out.write(&record)
	}
	out.flush()
	for query.Follow && out.err == nil && follower.Wait(ctx) == nil {
		for record, ok := follower.Next(); ok && ctx.Err() == nil; record, ok = follower.Next() {
			s.names.index().complete(&record)
			if query.Fits(&record) {
				out.write(&record)
			}
		}
		out.flush()
	}
}

// recordWriter writes to a client, whole batches at a time. After an error it does nothing.
type recordWriter struct {
	encoder   *json.Encoder
	control   *http.ResponseController
	unflushed int
	err       error
}

func (w *recordWriter) write(r *observe.Record) {
	if w.err != nil {
		return
	}
	if w.unflushed == 0 {
		w.err = w.control.SetWriteDeadline(time.Now().Add(observeWriteTimeout))
	}
	if w.err == nil {
		w.err = w.encoder.Encode(r)
	}
	if w.unflushed++; w.unflushed == observeBatch {
		w.flush()
	}
}

// flush sends what was written, and at first the head.
func (w *recordWriter) flush() {
	w.unflushed = 0
	if w.err == nil {
		w.err = w.control.Flush()
	}
}
