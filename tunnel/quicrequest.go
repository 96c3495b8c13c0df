package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
)

// The keys of what the edge tells of a request over QUIC, and is told of its response.
const (
	methodKey = "HttpMethod"
	hostKey   = "HttpHost"
	fieldKey  = "HttpHeader:" // and the name
	statusKey = "HttpStatus"
)

var errNotComplete = errors.New("response is not complete")

// serveRequest serves a request, a WebSocket or a TCP stream. With an error the stream has
// to be reset.
func (c *quicConnection) serveRequest(s *quicStream) (err error) {
	head, err := readHead(s)
	if err != nil {
		return err
	}
	res := &quicResponse{stream: s, fields: http.Header{}}
	defer func() {
		if reason := recover(); reason == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
			err = errNotComplete
		} else if reason != nil {
			panic(reason)
		}
	}()
	if head.Type == pogs.ConnectionTypeTCP {
		s.client = peer("")
		s.accept = func() error { return res.send() }
		c.link.session.config.Handler.ServeStream(s, head.Dest)
	} else {
		r, err := requestOf(head, s)
		if err != nil {
			return res.refuse(err)
		}
		res.request = r
		c.link.session.config.Handler.ServeHTTP(res, r.WithContext(s.Context()))
	}
	return res.finish()
}

// requestOf is the request that a stream's head tells of.
func requestOf(head *pogs.ConnectRequest, body io.ReadCloser) (*http.Request, error) {
	target := pathOf(head.Dest)
	address, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, fmt.Errorf("read target: %w", err)
	}
	r := &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: target, URL: address, Header: http.Header{}, Body: body}
	for _, m := range head.Metadata {
		switch m.Key {
		case methodKey:
			r.Method = m.Val
		case hostKey:
			r.Host = m.Val
		default:
			if name, ok := strings.CutPrefix(m.Key, fieldKey); ok {
				r.Header.Add(name, m.Val)
			}
		}
	}
	r.ContentLength, err = bodyLength(r.Header)
	if err != nil {
		return nil, err
	}
	switch {
	case r.ContentLength == 0:
		r.Body = http.NoBody
	case r.ContentLength > 0:
		r.Body = &exactBody{ReadCloser: body, left: r.ContentLength}
	}
	identify(r)
	if head.Type == pogs.ConnectionTypeWebsocket {
		offer(r)
		r.Body = body
	}
	return r, nil
}

// pathOf is the path and query of a URL, or of what is just these.
func pathOf(dest string) string {
	if strings.HasPrefix(dest, "/") {
		return dest
	}
	_, rest, _ := strings.Cut(dest, "://")
	switch i := strings.IndexAny(rest, "/?"); {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	default:
		return rest[i:]
	}
}

// exactBody is a body of a known length: the end of the stream before it is none.
type exactBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *exactBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// bodyLength is how long a request's body is, -1 if that shows at its end.
func bodyLength(h http.Header) (int64, error) {
	if strings.Contains(strings.ToLower(h.Get("Transfer-Encoding")), "chunked") {
		return -1, nil
	}
	text := h.Get("Content-Length")
	if text == "" {
		return 0, nil
	}
	length, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("read Content-Length: %w", err)
	}
	return int64(length), nil
}
