package h1

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The fuzz targets compare the codec with net/http: whatever the codec accepts,
// net/http accepts too, with the same meaning, down to the byte where the next
// message starts. The other way round does not hold, the codec is stricter. The
// known exceptions, where net/http refuses or changes what the codec accepts:
//
//   - empty lines before a request line are the codec's own courtesy;
//   - net/http decodes the target, and refuses a bad percent-encoding or IPv6
//     address there, which the codec hands on as it is;
//   - net/http refuses a Trailer field that announces a forbidden field, which
//     the codec hands on: it drops or refuses the trailer field itself;
//   - net/http refuses space between a chunk size and its extensions, which RFC
//     9112 §7.1.1 allows;
//   - net/http takes Host, Transfer-Encoding and a Connection that says close out
//     of the fields, and makes up a Cache-Control for Pragma.

// smuggling are messages, each of which some server somewhere has read in
// another way than the proxy before it.
var smuggling = []string{
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nX: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nX: x\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunk\xe9d\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\x00\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\n\tContent-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\nx\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /x HTTP/1.1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
	"GET /\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"GET / HTTP/1.1\rHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

// harmless are such messages that have one meaning all the same: it is the
// forwarder that must not pass on what they say about the connection.
var harmless = []string{
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
	"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
}

// TestSmuggling shows that no message of the first list passes, be it refused in
// the head or in the body, and that net/http agrees on those of the second.
func TestSmuggling(t *testing.T) {
	for _, message := range smuggling {
		if checkRequest(t, []byte(message)) {
			t.Errorf("accepted %q", message)
		}
	}
	for _, message := range harmless {
		if !checkRequest(t, []byte(message)) {
			t.Errorf("refused %q", message)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range slices.Concat(heads, smuggling, harmless) {
		f.Add([]byte(seed))
	}
	f.Add([]byte(browserRequest))
	f.Fuzz(func(t *testing.T, data []byte) {
		rng := rand.New(rand.NewPCG(5, uint64(len(data))))
		checkSplits(t, data, rng, requestOutcome)
		checkRequest(t, data)
	})
}

// checkRequest compares the request at the start of data with what net/http
// reads there. It returns whether the codec accepts head and body.
func checkRequest(t *testing.T, data []byte) bool {
	t.Helper()
	var r Request
	lim := DefaultLimits()
	n, err := r.Parse(data, &lim)
	if err != nil || n == 0 {
		return false
	}
	var b Body
	b.Reset(r.Framing, r.Length, &lim)
	body := drain(&b, data[n:], nil, 0)
	accepted := b.Done() // a body that is still to come is not
	if beyondNetHTTP(&r) {
		return accepted
	}
	in := bufio.NewReaderSize(bytes.NewReader(bytes.TrimLeft(data, "\r\n")), len(data)+16)
	req, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q: net/http refuses: %v", data, err)
	}
	if req.Method != r.Method || req.RequestURI != r.Target || req.ProtoMinor != r.Minor || req.Host != r.Host {
		t.Errorf("%q: net/http reads %s %s, version 1.%d, host %q; we read %+v",
			data, req.Method, req.RequestURI, req.ProtoMinor, req.Host, &r)
	}
	if req.Close == r.KeepAlive {
		t.Errorf("%q: keep-alive %v, net/http says %v", data, r.KeepAlive, !req.Close)
	}
	compareFields(t, data, r.Fields, req.Header)
	if r.Method != "CONNECT" {
		compareFraming(t, data, r.Framing, r.Length, req.ContentLength, req.TransferEncoding)
		compareBody(t, data, n, body, req.Body, in, &req.Trailer)
	}
	return accepted
}

// beyondNetHTTP says whether r is among the known exceptions.
func beyondNetHTTP(r *Request) bool {
	target := r.Target
	if r.Method == "CONNECT" {
		target = "http://" + target
	}
	_, err := url.ParseRequestURI(target)
	return err != nil || announcesTrailers(r.Fields)
}

func announcesTrailers(fields []Field) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return fold(f.Name, "trailer") })
}

func compareFields(t *testing.T, data []byte, fields []Field, header http.Header) {
	t.Helper()
	want := http.Header{}
	for _, f := range fields {
		want.Add(f.Name, f.Value)
	}
	for name, values := range want {
		switch name {
		case "Host", "Transfer-Encoding", "Content-Length", "Connection":
			continue
		}
		if got := header.Values(name); !slices.Equal(got, values) {
			t.Errorf("%q: net/http reads %s as %q, we as %q", data, name, got, values)
		}
	}
	for name := range header {
		if want[name] == nil && name != "Cache-Control" {
			t.Errorf("%q: net/http reads %s and we do not", data, name)
		}
	}
}

func compareFraming(t *testing.T, data []byte, f Framing, length, contentLength int64, codings []string) {
	t.Helper()
	ok := false
	switch f {
	case NoBody:
		ok = contentLength == 0 && codings == nil
	case Length:
		ok = contentLength == length && codings == nil
	case Chunked:
		ok = contentLength == -1 && len(codings) == 1
	case UntilClose:
		ok = contentLength == -1 && codings == nil
	}
	if !ok {
		t.Errorf("%q: framing %d of length %d, net/http says %d, %q", data, f, length, contentLength, codings)
	}
}

// compareBody compares the payload of a body that is whole, its trailers, and
// what is left behind it.
func compareBody(t *testing.T, data []byte, head int, body bodyOutcome, theirs io.Reader, left io.Reader, trailer *http.Header) {
	t.Helper()
	if !body.Done {
		return
	}
	payload, err := io.ReadAll(theirs)
	if err != nil && (bytes.Contains(data[head:], []byte(" ;")) || bytes.Contains(data[head:], []byte("\t;"))) {
		return
	}
	if err != nil || string(payload) != body.Payload {
		t.Fatalf("%q: net/http reads a body %q, %v; we %q", data, payload, err, body.Payload)
	}
	for _, f := range body.Trailers {
		if !slices.Contains(trailer.Values(textproto.CanonicalMIMEHeaderKey(f.Name)), f.Value) {
			t.Errorf("%q: net/http does not read trailer %q", data, f)
		}
	}
	rest, err := io.ReadAll(left)
	if err != nil {
		t.Fatal(err)
	}
	if want := data[head+body.Consumed:]; !bytes.Equal(rest, want) {
		t.Errorf("%q: net/http leaves %q behind the message, we %q", data, rest, want)
	}
}

func FuzzResponse(f *testing.F) {
	for _, seed := range heads {
		f.Add([]byte(seed), "GET")
	}
	for _, seed := range smuggling {
		if _, rest, ok := strings.Cut(seed, "\r\n"); ok {
			f.Add([]byte("HTTP/1.1 200 OK\r\n"+rest), "POST")
		}
	}
	f.Add([]byte(typicalResponse), "HEAD")
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		rng := rand.New(rand.NewPCG(6, uint64(len(data))))
		checkSplits(t, data, rng, responseOutcome)
		if !ValidName(method) || method == "CONNECT" {
			method = "GET" // net/http has no notion of CONNECT here
		}
		checkResponse(t, data, method)
	})
}

func checkResponse(t *testing.T, data []byte, method string) {
	t.Helper()
	var r Response
	lim := DefaultLimits()
	n, err := r.Parse(data, &lim, method)
	if err != nil || n == 0 || announcesTrailers(r.Fields) {
		return
	}
	in := bufio.NewReaderSize(bytes.NewReader(data), len(data)+16)
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: net/http refuses: %v", data, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != r.Status || resp.ProtoMinor != r.Minor || !strings.HasSuffix(resp.Status, strings.TrimLeft(r.Reason, " ")) {
		t.Errorf("%q: net/http reads %q, version 1.%d; we read %+v", data, resp.Status, resp.ProtoMinor, &r)
	}
	if resp.Close && r.KeepAlive {
		t.Errorf("%q: net/http closes, we do not", data)
	}
	compareFields(t, data, r.Fields, resp.Header)
	if r.Framing != NoBody { // there net/http still reports what the fields say
		compareFraming(t, data, r.Framing, r.Length, resp.ContentLength, resp.TransferEncoding)
	}
	var b Body
	b.Reset(r.Framing, r.Length, &lim)
	body := drain(&b, data[n:], nil, 0)
	if r.Framing == UntilClose {
		body.Done = b.EOF() == nil
	}
	body.Done = body.Done || b.Done()
	compareBody(t, data, n, body, resp.Body, in, &resp.Trailer)
}

// FuzzBody reads data as a chunked body, in all ways to split it and as net/http
// does; and then as payload that is encoded and must come back.
func FuzzBody(f *testing.F) {
	for _, seed := range chunkedBodies {
		f.Add([]byte(seed), uint16(3))
	}
	for _, seed := range smuggling {
		if _, body, ok := strings.Cut(seed, "\r\n\r\n"); ok {
			f.Add([]byte(body), uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		rng := rand.New(rand.NewPCG(7, uint64(size)))
		checkBodySplits(t, data, rng)
		checkResponse(t, append([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), data...), "GET")

		var encoded []byte
		for chunk := range slices.Chunk(data, int(size)+1) {
			encoded = AppendChunk(encoded, chunk)
		}
		encoded = AppendLastChunk(encoded, fieldsOf("Sum", "1"))
		var b Body
		lim := smallLimits()
		b.Reset(Chunked, 0, &lim)
		got := drain(&b, encoded, rng, 1+int(size)%50)
		if !got.Done || got.Payload != string(data) || got.Consumed != len(encoded) || len(got.Trailers) != 1 {
			t.Fatalf("%q comes back as %+v", data, got)
		}
	})
}
