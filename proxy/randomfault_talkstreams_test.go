package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// connect are the fields of an extended CONNECT.
func (r *talkRun) connect(p *plannedTalk) []string {
	return []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", r.scheme(), ":authority", "app.test", ":path", p.path(),
		"sec-websocket-version", "13", "x-id", p.id()}
}

func (r *talkRun) scheme() string { return strings.TrimSuffix(r.g.url(""), "://app.test") }

// streams makes exchanges on one connection at once.
func (r *talkRun) streams(all []*plannedTalk) {
	var going sync.WaitGroup
	if r.g.mode.h3 {
		c := r.g.dialPlanned(&quic.Config{})
		if c == nil {
			return
		}
		r.mu.Lock()
		r.quics = append(r.quics, c)
		r.mu.Unlock()
		for _, p := range all {
			going.Go(func() { r.askH3(r.begin(p), c) })
			for n := range p.plain {
				going.Go(func() { r.besideH3(p, n, c) })
			}
		}
		going.Wait()
		return
	}
	c, err := r.g.dialH2Client()
	if err != nil {
		r.t.Error(err)
		return
	}
	defer c.close()
	for _, p := range all {
		going.Go(func() { r.askH2(r.begin(p), c) })
		for n := range p.plain {
			going.Go(func() { r.besideH2(p, n, c) })
		}
	}
	going.Wait()
}

func (r *talkRun) askH2(x *talked, c *h2Client) {
	p := x.plannedTalk
	e := &h2End{c: c, wrecks: p.wrecks}
	send := func() error { return e.open(p.words(&p.client)[:p.client.early], false, r.connect(p)...) }
	r.ask(x, e, send, func() (int, io.Reader, error) {
		status, err := e.status()
		return status, e, err
	})
}

func (r *talkRun) besideH2(p *plannedTalk, n int, c *h2Client) {
	id := p.beside(n)
	e := &h2End{c: c}
	_ = e.open("", true, ":method", "GET", ":scheme", r.scheme(), ":authority", "app.test", ":path", p.road+"/"+id, "x-id", id)
	if status, err := e.status(); err == nil {
		r.beside(p, n, status, e)
	} else if !p.wrecks {
		r.t.Errorf("no answer: %v, beside %s", err, p)
	}
}

func (r *talkRun) askH3(x *talked, c *h3Client) {
	p := x.plannedTalk
	ctx, cancel := context.WithTimeout(r.t.Context(), ample)
	defer cancel()
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		r.t.Error(err)
		return
	}
	_ = stream.SetDeadline(time.Now().Add(ample))
	e := &h3End{Stream: stream, client: c, wrecks: p.wrecks, in: quicvarint.NewReader(stream)}
	send := func() error {
		_, err := stream.Write(append(headers(r.connect(p)...), data(p.words(&p.client)[:p.client.early])...))
		return err
	}
	r.ask(x, e, send, func() (int, io.Reader, error) {
		status, err := e.status()
		return status, e, err
	})
}

func (r *talkRun) besideH3(p *plannedTalk, n int, c *h3Client) {
	id := p.beside(n)
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.g.url(p.road+"/"+id), nil)
	req.Header.Set("X-Id", id)
	res, err := c.http.RoundTrip(req)
	if err == nil {
		r.beside(p, n, res.StatusCode, res.Body)
		res.Body.Close()
	} else if !p.wrecks {
		r.t.Errorf("no answer: %v, beside %s", err, p)
	}
}
