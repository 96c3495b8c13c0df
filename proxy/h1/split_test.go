package h1

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// smallLimits are limits that short inputs reach.
func smallLimits() Limits { return Limits{Line: 64, Head: 256, Fields: 6} }

// outcome is all that the owner of a parser sees: after how many bytes it came
// to an end, if it did, and how.
type outcome struct {
	At     int // bytes that had come
	N      int
	Err    string
	Status int
	Head   any // a *Request or *Response
}

// pieces yields the prefixes of data that a reader would parse one after the
// other. Now and then the buffer moves, as one that grows does.
func pieces(data []byte, rng *rand.Rand, largest int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		buf := make([]byte, 0, len(data))
		for len(buf) < len(data) {
			k := min(1+rng.IntN(largest), len(data)-len(buf))
			buf = append(buf, data[len(buf):len(buf)+k]...)
			if rng.IntN(8) == 0 {
				old := buf
				buf = append(make([]byte, 0, len(data)), old...)
				for i := range old {
					old[i] = '!' // whoever still reads it, shows it
				}
			}
			if !yield(buf) {
				return
			}
		}
	}
}

// requestOutcome parses data by pieces of up to largest bytes; 0 means at once.
func requestOutcome(data []byte, rng *rand.Rand, largest int) outcome {
	r, lim := new(Request), smallLimits()
	return follow(data, rng, largest, func(buf []byte) (int, error, any) {
		n, err := r.Parse(buf, &lim)
		return n, err, r
	})
}

func responseOutcome(data []byte, rng *rand.Rand, largest int) outcome {
	r, lim := new(Response), smallLimits()
	return follow(data, rng, largest, func(buf []byte) (int, error, any) {
		n, err := r.Parse(buf, &lim, "GET")
		return n, err, r
	})
}

func follow(data []byte, rng *rand.Rand, largest int, parse func([]byte) (int, error, any)) outcome {
	seq := func(yield func([]byte) bool) { yield(data) }
	if largest > 0 {
		seq = pieces(data, rng, largest)
	}
	for buf := range seq {
		n, err, head := parse(buf)
		switch {
		case err != nil:
			return outcome{At: len(buf), Err: err.Error(), Status: statusOf(err)}
		case n > 0:
			return outcome{At: len(buf), N: n, Head: head}
		}
	}
	return outcome{}
}

// checkSplits checks that a head has one outcome however it is split, and that
// it comes with the byte that decides it, neither before nor after.
func checkSplits(t *testing.T, data []byte, rng *rand.Rand, parse func([]byte, *rand.Rand, int) outcome) {
	t.Helper()
	same := func(a, b outcome) string {
		a.At, b.At = 0, 0
		return cmp.Diff(a, b, cmpopts.IgnoreUnexported(Request{}, Response{}), cmpopts.EquateEmpty())
	}
	whole := parse(data, rng, 0)
	single := parse(data, rng, 1)
	if diff := same(whole, single); diff != "" {
		t.Fatalf("%q whole and by single bytes (-whole +single)\n%s", data, diff)
	}
	for range 4 {
		split := parse(data, rng, 1+rng.IntN(40))
		if diff := same(whole, split); diff != "" {
			t.Fatalf("%q whole and in pieces (-whole +pieces)\n%s", data, diff)
		}
	}
	if single.At > 0 {
		if early := parse(data[:single.At-1], rng, 0); early != (outcome{}) {
			t.Fatalf("%q comes to an end before byte %d: %+v", data, single.At, early)
		}
	}
	if single.N > 0 && single.N != single.At {
		t.Fatalf("%q: a head of %d bytes needed %d", data, single.N, single.At)
	}
}

var heads = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"\r\n\r\nPOST http://b/?x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close, X\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"GET /ws HTTP/1.0\r\nHost: [::1]:80\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
	"HTTP/1.0 204\r\nA: \r\nB:\tc\t\r\n\r\n",
	"HTTP/1.1 101 \r\nUpgrade: x, y\r\nConnection: Upgrade\r\n\r\n",
}

// TestSplitAnywhere mutates heads and compares the outcome over all ways to
// split them.
func TestSplitAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	splices := []string{"\r\n", "\n", "\r", " ", "\t", ":", "\x00", "x", ",", "Host: a\r\n", "Content-Length: 1\r\n",
		"Transfer-Encoding: chunked\r\n", strings.Repeat("y", 50), strings.Repeat("Z: z\r\n", 4), strings.Repeat("q", 300)}
	for range 3_000 {
		data := []byte(heads[rng.IntN(len(heads))])
		for range rng.IntN(4) {
			at := rng.IntN(len(data))
			switch rng.IntN(3) {
			case 0:
				data = slices.Insert(data, at, []byte(splices[rng.IntN(len(splices))])...)
			case 1:
				data = slices.Delete(data, at, min(at+1+rng.IntN(3), len(data)))
			case 2:
				data[at] = byte(rng.IntN(256))
			}
			if len(data) == 0 {
				break
			}
		}
		if len(data) == 0 {
			continue
		}
		checkSplits(t, data, rng, requestOutcome)
		checkSplits(t, data, rng, responseOutcome)
	}
}

// TestRefusalComesWithItsLine says when a mistake is answered: at the end of the
// line that has it, and for a first byte that begins no request at once.
func TestRefusalComesWithItsLine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for data, want := range map[string]int{
		"\x16\x03\x01":                         1,
		"GET / HTTP/1.1\r\nX : y\r\nHost: a\r": len("GET / HTTP/1.1\r\nX : y\r\n"),
		"GET /\x00 HTTP/1.1\r\nHost: a\r\n":    len("GET /\x00 HTTP/1.1\r\n"),
		"GET / HTTP/1.1\r\nHost: a\n":          len("GET / HTTP/1.1\r\nHost: a\n"),
	} {
		if got := requestOutcome([]byte(data), rng, 1); got.Err == "" || got.At != want {
			t.Errorf("%q: %+v, want an error at byte %d", data, got, want)
		}
	}
}

// TestSingleBytesAreLinear parses a large head by single bytes. If each byte cost
// another look at those before it, this would read 4 GiB and more.
func TestSingleBytesAreLinear(t *testing.T) {
	lim := DefaultLimits()
	for name, head := range map[string]string{
		"long value":  "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 65_000) + "\r\n\r\n",
		"many fields": "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+strings.Repeat("y", 500)+"\r\n", 120) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(head)
			looks := 0 // bytes that the parser could see in lines it had not parsed
			var r Request
			for i := range data {
				n, err := r.Parse(data[:i+1:len(data)], &lim)
				if err != nil || n > 0 != (i+1 == len(data)) {
					t.Fatal(i, n, err)
				}
				looks += i + 1 - max(r.section.pos, r.section.scanned)
			}
			if looks > 2*len(data) {
				t.Errorf("%d bytes are left to look at again, for a head of %d", looks, len(data))
			}
		})
	}
}

// TestPipeline reads requests that follow each other in one buffer.
func TestPipeline(t *testing.T) {
	lim := DefaultLimits()
	in := []byte("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"\\\"\"\r\nde\r\n0\r\nT: u\r\n\r\n" +
		"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
	var r Request
	var b Body
	var paths, bodies []string
	for len(in) > 0 {
		n, err := r.Parse(in, &lim)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		in = in[n:]
		b.Reset(r.Framing, r.Length, &lim)
		var payload bytes.Buffer
		for !b.Done() {
			n, data, err := b.Next(in)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			payload.Write(data)
			in = in[n:]
		}
		paths, bodies = append(paths, r.Path), append(bodies, payload.String())
	}
	if diff := cmp.Diff([]string{"/1", "/2", "/3"}, paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"abc", "de", ""}, bodies); diff != "" {
		t.Error(diff)
	}
}
