package h1

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// bodyOutcome is what the owner of a Body sees of it.
type bodyOutcome struct {
	Payload  string
	Consumed int
	Done     bool
	Err      string
	Status   int
	Trailers []Field
}

// drain feeds in to b by pieces of up to largest bytes; 0 means at once.
func drain(b *Body, in []byte, rng *rand.Rand, largest int) (out bodyOutcome) {
	var payload strings.Builder
	defer func() { out.Payload = payload.String() }()
	for len(in) > 0 {
		piece := in
		if largest > 0 {
			piece = in[:min(1+rng.IntN(largest), len(in))]
		}
		piece = bytes.Clone(piece)
		in = in[len(piece):]
		for {
			n, data, err := b.Next(piece)
			payload.Write(data)
			out.Consumed += n
			if err != nil {
				out.Err, out.Status = err.Error(), statusOf(err)
				return out
			}
			for i := range n {
				piece[i] = '!' // the buffer is used again
			}
			piece = piece[n:]
			if b.Done() {
				out.Done, out.Trailers = true, b.Trailers()
				return out
			}
			if n == 0 {
				break
			}
		}
	}
	return out
}

func chunkedBody(in string) bodyOutcome {
	var b Body
	lim := smallLimits()
	b.Reset(Chunked, 0, &lim)
	return drain(&b, []byte(in), nil, 0)
}

func TestBodyFraming(t *testing.T) {
	lim := DefaultLimits()
	for _, tt := range []struct {
		name    string
		framing Framing
		length  int64
		in      string
		want    bodyOutcome
		eof     bool // the peer may close here
	}{
		{"none", NoBody, 0, "next", bodyOutcome{Done: true}, true},
		{"empty", Length, 0, "next", bodyOutcome{Done: true}, true},
		{"length", Length, 3, "abcnext", bodyOutcome{Payload: "abc", Consumed: 3, Done: true}, true},
		{"too short", Length, 3, "ab", bodyOutcome{Payload: "ab", Consumed: 2}, false},
		{"until close", UntilClose, 0, "abc", bodyOutcome{Payload: "abc", Consumed: 3}, true},
		{"chunks without end", Chunked, 0, "1\r\na\r\n", bodyOutcome{Payload: "a", Consumed: 6}, false},
		{"trailers without end", Chunked, 0, "0\r\n", bodyOutcome{Consumed: 3}, false},
		{"chunks", Chunked, 0, "3\r\nabc\r\n0a\r\n0123456789\r\n000\r\n\r\nnext",
			bodyOutcome{Payload: "abc0123456789", Consumed: 8 + 16 + 7, Done: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Body
			b.Reset(tt.framing, tt.length, &lim)
			done := b.Done()
			got := drain(&b, []byte(tt.in), nil, 0)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if want := tt.framing == NoBody || tt.framing == Length && tt.length == 0; done != want {
				t.Errorf("done before the first byte: %v", done)
			}
			if err := b.EOF(); (err == nil) != tt.eof || b.Done() != tt.eof {
				t.Errorf("EOF: %v, done %v", err, b.Done())
			}
		})
	}
}

func TestZeroBodyIsDone(t *testing.T) {
	var b Body
	if n, data, err := b.Next([]byte("next")); !b.Done() || n != 0 || len(data) != 0 || err != nil {
		t.Error(n, data, err)
	}
}

// TestChunks has one chunked body a rule of RFC 9112 §7.1. An empty payload with
// status 0 is a body that is accepted.
func TestChunks(t *testing.T) {
	const end = "0\r\n\r\n"
	for _, tt := range []struct {
		name, in string
		status   int
	}{
		{"upper case", "A\r\n0123456789\r\n" + end, 0},
		{"leading zeros", "0000000000000001\r\na\r\n" + end, 0},
		{"name", "1;a\r\na\r\n" + end, 0},
		{"names", "1;a;b\r\na\r\n" + end, 0},
		{"value", "1;a=b;c=d\r\na\r\n" + end, 0},
		{"space", "1 \t; a = b ;c\r\na\r\n" + end, 0},
		{"quotes", "1;a=\"b;\\\"\t\xff\"\r\na\r\n" + end, 0},
		{"space behind quotes", "1;a=\"\" ; b\r\na\r\n" + end, 0},
		{"extension of the last chunk", "1\r\na\r\n0;a=b\r\n\r\n", 0},
		{"longest extension", "1;" + strings.Repeat("a", maxExtension-2) + "\r\na\r\n" + end, 0},

		{"no size", "\r\na\r\n" + end, 400},
		{"no size but an extension", ";a\r\na\r\n" + end, 400},
		{"sign", "+1\r\na\r\n" + end, 400},
		{"minus", "-1\r\na\r\n" + end, 400},
		{"prefix", "0x1\r\na\r\n" + end, 400},
		{"underscore", "1_0\r\na\r\n" + end, 400},
		{"no hexadecimal digit", "g\r\na\r\n" + end, 400},
		{"space before the size", " 1\r\na\r\n" + end, 400},
		{"space behind the size", "1 \r\na\r\n" + end, 400},
		{"bare LF behind the size", "1\na\r\n" + end, 400},
		{"bare CR behind the size", "1\ra\r\n" + end, 400},
		{"CR CR LF behind the size", "1\r\r\na\r\n" + end, 400},
		{"NUL behind the size", "1\x00\r\na\r\n" + end, 400},
		{"too many digits", "00000000000000001\r\na\r\n" + end, 400},
		{"overflow", "8000000000000000\r\na\r\n" + end, 400},
		{"overflow to one", "10000000000000001\r\na\r\n" + end, 400},
		{"chunk longer than its size", "1\r\nab\r\n" + end, 400},
		{"bare LF behind the chunk", "1\r\na\n" + end, 400},
		{"bare CR behind the chunk", "1\r\na\r" + end, 400},
		{"nothing behind the chunk", "1\r\na" + end, 400},
		{"LF in an extension", "1;a\nb\r\na\r\n" + end, 400},
		{"LF behind an extension", "1;a\na\r\n" + end, 400},
		{"CR in an extension", "1;a\rb\r\na\r\n" + end, 400},
		{"LF in quotes", "1;a=\"\n\"\r\na\r\n" + end, 400},
		{"CRLF in quotes", "1;a=\"\r\n\"\r\na\r\n" + end, 400},
		{"escaped LF in quotes", "1;a=\"\\\n\"\r\na\r\n" + end, 400},
		{"no extension behind the semicolon", "1;\r\na\r\n" + end, 400},
		{"no name", "1;=b\r\na\r\n" + end, 400},
		{"no value", "1;a=\r\na\r\n" + end, 400},
		{"text behind quotes", "1;a=\"b\"c\r\na\r\n" + end, 400},
		{"space at the end of the line", "1;a \r\na\r\n" + end, 400},
		{"two names", "1;a b\r\na\r\n" + end, 400},
		{"extension too long", "1;" + strings.Repeat("a", maxExtension-1) + "\r\na\r\n" + end, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := chunkedBody(tt.in)
			if got.Status != tt.status || got.Done != (tt.status == 0) {
				t.Errorf("%q: %+v, want status %d", tt.in, got, tt.status)
			}
			if got.Done && got.Consumed != len(tt.in) {
				t.Errorf("%q: consumed %d of %d bytes", tt.in, got.Consumed, len(tt.in))
			}
		})
	}
}

// TestLargestChunk announces the largest chunk and shows that its size is kept.
func TestLargestChunk(t *testing.T) {
	var b Body
	lim := DefaultLimits()
	b.Reset(Chunked, 0, &lim)
	in := []byte("7fffffffffffffff\r\nabc")
	n, data, err := b.Next(in)
	if n != len(in) || string(data) != "abc" || err != nil || b.left != 1<<63-1-3 {
		t.Error(n, data, err, b.left)
	}
}

func TestTrailers(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []Field
		status   int
	}{
		{"kept", "Grpc-Status: 0\r\nX:\t y \r\n\r\n", fieldsOf("Grpc-Status", "0", "X", "y"), 0},
		{"dropped", "Authorization: x\r\nA: b\r\nSet-Cookie: x\r\nconnection: close\r\nContent-type: x\r\n\r\n", fieldsOf("A", "b"), 0},
		{"all dropped", "Cookie: x\r\n\r\n", nil, 0},
		{"length", "Content-Length: 3\r\n\r\n", nil, 400},
		{"coding", "Transfer-Encoding: chunked\r\n\r\n", nil, 400},
		{"host", "Host: a\r\n\r\n", nil, 400},
		{"bare LF", "A: b\n\r\n", nil, 400},
		{"bare LF at the end", "A: b\r\n\n", nil, 400},
		{"folded", "A: b\r\n c\r\n\r\n", nil, 400},
		{"space before the colon", "A : b\r\n\r\n", nil, 400},
		{"no colon", "A\r\n\r\n", nil, 400},
		{"control byte", "A: \x00\r\n\r\n", nil, 400},
		{"fields at the limit", strings.Repeat("A: b\r\n", 6) + "\r\n", fieldsOf("A", "b", "A", "b", "A", "b", "A", "b", "A", "b", "A", "b"), 0},
		{"fields over the limit", strings.Repeat("A: b\r\n", 7) + "\r\n", nil, 431},
		{"bytes at the limit", "A: " + strings.Repeat("b", 256-7) + "\r\n\r\n", fieldsOf("A", strings.Repeat("b", 256-7)), 0},
		{"bytes over the limit", "A: " + strings.Repeat("b", 256-6) + "\r\n\r\n", nil, 431},
		{"bytes far over the limit, without end", "A: " + strings.Repeat("b", 256), nil, 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := chunkedBody("1\r\na\r\n0\r\n" + tt.in)
			if got.Status != tt.status || got.Done != (tt.status == 0) {
				t.Errorf("%+v, want status %d", got, tt.status)
			}
			if diff := cmp.Diff(tt.want, got.Trailers, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTrailing(t *testing.T) {
	for name, want := range map[string]bool{
		"Grpc-Message": true, "Digest": true, "Server-Timing": true, "ETag": true, "Authentication-Info": true,
		"Content-Length": false, "TRANSFER-ENCODING": false, "Host": false, "Connection": false, "TE": false, "Trailer": false,
		"authorization": false, "Cookie": false, "Set-Cookie": false, "Content-Encoding": false, "Content-Type": false,
		"Content-Range": false, "Cache-Control": false, "Expect": false, "Range": false, "If-None-Match": false, "Location": false,
	} {
		if got := Trailing(name); got != want {
			t.Errorf("Trailing(%q) = %v", name, got)
		}
	}
}

// TestBodyErrorStays shows that a refused body neither recovers nor ends well.
func TestBodyErrorStays(t *testing.T) {
	var b Body
	lim := DefaultLimits()
	b.Reset(Chunked, 0, &lim)
	n, data, err := b.Next([]byte("1\r\naX"))
	if n != 4 || string(data) != "a" || err != nil {
		t.Fatal(n, data, err)
	}
	if _, _, err = b.Next([]byte("X")); err == nil {
		t.Fatal("accepted")
	}
	if n, data, again := b.Next([]byte("\r\n0\r\n\r\n")); n != 0 || data != nil || again.Error() != err.Error() {
		t.Error(n, data, again)
	}
	if b.Done() || b.EOF() == nil {
		t.Error("done after an error")
	}
	b.Reset(Length, 1, &lim)
	if _, data, err := b.Next([]byte("a")); string(data) != "a" || err != nil || !b.Done() {
		t.Error("Reset did not forget the error")
	}
}

var chunkedBodies = []string{
	"5\r\nhello\r\n0\r\n\r\n",
	"1;a=b;c=\"d\\\"\"\r\na\r\nA ;x\r\n0123456789\r\n0\r\nT: u\r\nDate: x\r\n\r\n",
	"0\r\nA: b\r\nC: d\r\n\r\n",
	"ffffffffffffffff\r\n",
}

// TestBodySplitAnywhere mutates chunked bodies and compares the outcome over all
// ways to split them.
func TestBodySplitAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4_000 {
		data := []byte(chunkedBodies[rng.IntN(len(chunkedBodies))])
		for range rng.IntN(3) {
			data[rng.IntN(len(data))] = "\r\n;:=\"\\ 0a\x00"[rng.IntN(11)]
		}
		checkBodySplits(t, data, rng)
	}
}

func checkBodySplits(t *testing.T, data []byte, rng *rand.Rand) {
	t.Helper()
	lim := smallLimits()
	outcomes := [4]bodyOutcome{}
	for i, largest := range []int{0, 1, 3, 20} {
		var b Body
		b.Reset(Chunked, 0, &lim)
		outcomes[i] = drain(&b, data, rng, largest)
		if outcomes[i].Status != 0 {
			outcomes[i].Consumed = 0 // of no use to anybody
		}
		if diff := cmp.Diff(outcomes[0], outcomes[i], cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q whole and by up to %d bytes (-whole +pieces)\n%s", data, largest, diff)
		}
	}
}

// TestBodyAfterLargeTrailers shows that a Body is as good as new after trailers
// that were too large to keep room for.
func TestBodyAfterLargeTrailers(t *testing.T) {
	var b Body
	lim := DefaultLimits()
	large := fieldsOf("A", strings.Repeat("a", 2*keptTrailer))
	for _, trailers := range [][]Field{large, fieldsOf("B", "b"), nil} {
		b.Reset(Chunked, 0, &lim)
		got := drain(&b, AppendLastChunk(nil, trailers), nil, 0)
		if diff := cmp.Diff(trailers, got.Trailers, cmpopts.EquateEmpty()); diff != "" || !got.Done {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	b.Reset(NoBody, 0, &lim)
	if cap(b.trailer) > keptTrailer {
		t.Errorf("keeps room for %d bytes of trailers", cap(b.trailer))
	}
}
