//go:build linux

package proxy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/h2"
)

// laneSeed is an input of [bothLanes.compare].
type laneSeed struct {
	input  string
	script string // see player
}

// getOf is a plain request.
func getOf(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a.test\r\n\r\n" }

// postOf is a request with a body that is framed as fields say.
func postOf(path, framed string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: a.test\r\n" + framed
}

const (
	lengthOf5  = "Content-Length: 5\r\n\r\nhello"
	chunkedOf5 = "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n"
	ok200      = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	chunks200  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhe\r\n^f3\r\nllo\r\n0\r\nX-Sum: 1\r\nEtag: x\r\n\r\n"
	close200   = "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello^c"
	switch101  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome"
	upgrader   = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	expectant  = "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
)

// laneSeeds are what the fuzzer starts from, by topic.
func laneSeeds() []laneSeed {
	var all []laneSeed
	for _, seeds := range [][]laneSeed{seedsOfRules(), seedsOfRequests(), seedsOfResponses(), seedsOfFaults(), seedsOfHandOver()} {
		all = append(all, seeds...)
	}
	return all
}

func seedsOfRules() []laneSeed {
	var all []laneSeed
	for _, path := range []string{
		"/", "/418", "/204", "/redirect?a=b", "/none", "/invalid", "/empty", "/dead", "/hurry", "/try", "/rewritten/a?b", "/filtered/x",
		"/a/../418", "/%34%31%38", "/%zz", "//", "/a%2fb", "/?", "*", "http://b.test/x?y", "http://b.test", "/a#b",
	} {
		all = append(all, laneSeed{getOf(path), chunks200}, laneSeed{postOf(path, lengthOf5) + getOf(path), ""}, laneSeed{postOf(path, chunkedOf5) + getOf("/418"), ok200})
	}
	fields := "Cookie: a=b\r\nAccept: text/html\r\nX-Forwarded-For: 192.0.2.1\r\nX_Forwarded_For: 192.0.2.2\r\nX-Real-Ip: 192.0.2.3\r\n"
	return append(all,
		laneSeed{"GET /filtered HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n", "HTTP/1.1 200 OK\r\nServer: x\r\nEtag: y\r\nVary: z\r\nDate: then\r\nContent-Length: 0\r\n\r\n"},
		laneSeed{"GET / HTTP/1.1\r\nHost: a.test\r\nX-Version: 2\r\n\r\n" + getOf("/"), ""},
		laneSeed{"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n", ""},
		laneSeed{"GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: abc\r\nUser-Agent: b\r\n\r\n", ""},
		laneSeed{"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-Hop, x-version\r\nX-Hop: 1\r\nX-Version: 2\r\nTE: trailers\r\n\r\n", ""},
	)
}

func seedsOfRequests() []laneSeed {
	long := strings.Repeat("a", 300)
	return []laneSeed{
		{getOf("/1") + getOf("/2") + getOf("/3"), ok200 + "|" + chunks200 + "|" + close200},
		{postOf("/1", lengthOf5) + postOf("/2", chunkedOf5) + getOf("/3"), ok200 + "|" + ok200},
		{"GET / HTTP/1.0\r\n\r\n", chunks200},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + getOf("/418"), ok200},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + getOf("/418"), chunks200},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + getOf("/2"), ok200},
		{"GET /418 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + getOf("/2"), ok200},
		{"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello" + getOf("/2"), ok200},
		{"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + getOf("/2"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n|" + ok200},
		{"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + getOf("/2"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|" + ok200},
		{"HEAD /418 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /dead HTTP/1.1\r\nHost: a\r\n\r\nHEAD /redirect HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nTRACE / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"\r\n\r\n" + getOf("/") + "\r\n" + getOf("/"), ""},
		{getOf("/" + long), ""},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: " + long + "\r\n\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 10) + "\r\n", ""},
		{"GET / HTTP/1.1\r\nHost: a\r\n", ""},
		{"GET / HT", ""},
		{getOf("/") + "GET / HT", ""},
		{"", ""},
		{"GET / HTTP/1.1\r\n\r\n", ""},
		{"GET / HTTP/2.0\r\nHost: a\r\n\r\n", ""},
		{"GET / HTTP/1.1\nHost: a\n\n", ""},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""},
		{"\x16\x03\x01\x00\x05hello", ""},
		{getOf("/") + "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + getOf("/"), ""},
		{postOf("/", "Content-Length: 5\r\n\r\nhel"), ""},
		{postOf("/418", "Content-Length: 5\r\n\r\nhel"), ""},
		{postOf("/dead", "Content-Length: 5\r\n\r\nhel"), ""},
		{postOf("/", "Content-Length: 17\r\n\r\n0123456789abcdefg") + getOf("/"), ""},
		{postOf("/", "Transfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n") + getOf("/"), ""},
		{postOf("/", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"), ""},
		{postOf("/418", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n") + getOf("/"), ""},
		{postOf("/", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), ""},
		{postOf("/", "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nContent-Length: 3\r\nCookie: z\r\n\r\n") + getOf("/"), ""},
		{postOf("/filtered", "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Set: y\r\nAccept: z\r\n\r\n") + getOf("/"), ""},
		{postOf("/", "Content-Length: 0\r\n\r\n") + postOf("/", "\r\n") + getOf("/"), ""},
		{postOf("/204", "Content-Length: 300000\r\n\r\nhello"), ""},
	}
}

func seedsOfResponses() []laneSeed {
	three := getOf("/1") + getOf("/2") + getOf("/3")
	const stalls = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel^z"
	all := []laneSeed{
		{three, stalls}, {three, "^z"}, {three, ok200 + "|^z"}, {getOf("/hurry") + getOf("/try"), "^z|^z"}, {getOf("/try"), stalls},
		{postOf("/", "Content-Length: 5\r\n\r\nhel"), "^z"},
	}
	for _, answer := range []string{
		ok200, chunks200, close200,
		"HTTP/1.0 200 OK\r\n\r\nhello^c",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello^c",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello^c",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello^s",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n^fhello",
		"HTTP/1.1 200 OK\r\nConte^fnt-Length: 5\r^f\n\r\nhe^fllo",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello^fgarbage",
		"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n^L",
		"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n^L^f^L",
		"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n^L^c",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186A0\r\n^L\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n^L^c",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: x\r\n\r\n",
		"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok200,
		"HTTP/1.1 100 Continue\r\n\r\n" + ok200, "HTTP/1.1 102 Processing\r\n\r\n^fHTTP/1.1 102 Processing\r\n\r\n" + ok200,
		strings.Repeat("HTTP/1.1 102 P\r\n\r\n", 101) + ok200,
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n^c",
		switch101, "HTTP/1.1 101 Switching\r\n\r\n",
		"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Hop: 1\r\nX: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nDate: then\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
		"^hHTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", "^hHTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno^c",
		"^hHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe^f^bllo",
	} {
		all = append(all,
			laneSeed{three, answer},
			laneSeed{three, ok200 + "|" + answer},
			laneSeed{postOf("/1", chunkedOf5) + getOf("/2"), answer},
			laneSeed{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + getOf("/2"), answer},
			laneSeed{"HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n" + getOf("/2"), answer},
			laneSeed{getOf("/filtered") + getOf("/hurry"), answer + "|" + answer})
	}
	return all
}

// seedsOfH2Responses are for an upstream that speaks HTTP/2: a few of each kind, and its own.
func seedsOfH2Responses() []laneSeed {
	var all []laneSeed
	for _, seeds := range [][]laneSeed{seedsOfRules(), seedsOfRequests(), seedsOfResponses(), seedsOfFaults()} {
		for i := 0; i < len(seeds); i += 4 {
			all = append(all, seeds[i])
		}
	}
	all = append(all, seedsOfHandOver()...)
	const length, chunks = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, answer := range []string{
		"^x", "^g^x", "^g" + ok200, length + "^ghello", length + "hel^x", length + "hel", length + "hello!", chunks + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
		chunks + "5\r\nhello\r\n^x0\r\n\r\n", "^h^x", "^h" + ok200 + "^x", "^h" + length + "he^bllo", "HTTP/1.1 200 OK\r\n\r\n^L^L^L", "HTTP/1.1 200 OK\r\n\r\n^L^x",
		"HTTP/1.1 200 OK\r\nA b: c\r\n\r\nhello", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n^g" + ok200, "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + ok200,
	} {
		all = append(all,
			laneSeed{getOf("/1") + getOf("/2"), answer},
			laneSeed{postOf("/1", lengthOf5) + postOf("/2", chunkedOf5), ok200 + "|" + answer},
			laneSeed{"HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n" + getOf("/filtered"), answer})
	}
	return all
}

func seedsOfFaults() []laneSeed {
	var all []laneSeed
	for _, answer := range []string{
		"^c", "^r", "^s", "^h^c", "^h^r", "HT^c", "HT^f^r", "garbage", "garbage\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\nA b\r\n\r\n", "HTTP/1.1 99 No\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel^c", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel^f^r", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel^s",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n^c", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel^f^r",
		"HTTP/1.1 200 OK\r\n\r\nhel^f^r", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab^c",
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 300) + "\r\nContent-Length: 0\r\n\r\n",
	} {
		all = append(all,
			laneSeed{getOf("/1") + getOf("/2"), answer},
			laneSeed{getOf("/1") + getOf("/2") + getOf("/3"), ok200 + "|" + answer},
			laneSeed{getOf("/1") + getOf("/2"), answer + "|" + answer + "|" + answer},
			laneSeed{"GET /1 HTTP/1.0\r\n\r\n", answer},
			laneSeed{postOf("/1", lengthOf5) + getOf("/2"), answer},
			laneSeed{postOf("/1", lengthOf5) + postOf("/2", lengthOf5), ok200 + "|" + answer},
			laneSeed{postOf("/1", "Content-Length: 9\r\n\r\nhello"), answer})
	}
	return all
}

// seedsOfHandOver are what the express lane does not serve to the end.
func seedsOfHandOver() []laneSeed {
	const continued = "^hHTTP/1.1 100 Continue\r\n\r\n^b" + ok200
	return []laneSeed{
		{expectant, continued}, {getOf("/") + expectant + getOf("/"), ok200 + "|" + continued}, {expectant, ok200},
		{expectant, "^h" + ok200}, {expectant + getOf("/2"), "^hHTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"},
		{strings.Replace(expectant, "hello", "", 1), continued}, {strings.Replace(expectant, "hello", "he", 1), continued},
		{strings.Replace(expectant, " / ", " /418 ", 1) + getOf("/"), ""}, {strings.Replace(expectant, " / ", " /dead ", 1) + getOf("/"), ""},
		{strings.Replace(expectant, "1.1", "1.0", 1), continued},
		{upgrader, switch101}, {upgrader + "early", switch101 + "^f^c"}, {getOf("/") + upgrader + "early", ok200 + "|" + switch101 + "^s"},
		{upgrader, ok200}, {upgrader + getOf("/2"), ok200}, {upgrader, switch101 + "^r"}, {upgrader, "^c"},
		{postOf("/", "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello") + getOf("/"), switch101},
		{postOf("/", "Upgrade: h2c\r\nContent-Length: 5\r\n\r\nhello") + getOf("/"), ok200},
		{"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n", ""},
		{getOf("/") + "CONNECT b.test:443 HTTP/1.1\r\nHost: b.test\r\n\r\n" + getOf("/"), ""},
		{strings.Replace(upgrader, " / ", " /418 ", 1) + getOf("/"), ""},
	}
}

// seedsOfSize are such that no buffer holds them: with bodies that are read to their
// end although nobody wants them, and with longer ones.
func seedsOfSize() []laneSeed {
	endless := strings.Repeat(getOf("/")+getOf("/418"), 100)
	all := []laneSeed{{endless, ""}, {endless, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n^L^L"}}
	for _, size := range []int{200_000, 600_000} {
		payload := strings.Repeat("0123456789", size/10)
		for _, framed := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, payload),
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, payload),
		} {
			for _, path := range []string{"/", "/418", "/dead", "/filtered"} {
				all = append(all, laneSeed{postOf(path, framed) + getOf("/"), ""})
			}
			all = append(all,
				laneSeed{postOf("/", framed) + getOf("/"), "^hHTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n^L^b"},
				laneSeed{strings.Replace(postOf("/", framed), "Host", "Expect: 100-continue\r\nHost", 1) + getOf("/"), ""},
				laneSeed{postOf("/", framed[:size/2]), ""})
		}
	}
	return all
}

// attackSeeds are the bytes of testdata/smuggling.
func attackSeeds(t testing.TB) []laneSeed {
	t.Helper()
	files, err := filepath.Glob("testdata/smuggling/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var all []laneSeed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a := &attack{}
		for line := range strings.Lines(string(text)) {
			if err := a.read(strings.TrimSuffix(line, "\n")); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
		}
		all = append(all, laneSeed{input: a.bytes})
	}
	return all
}

// seedsOfPrefaces are clients that know that the port speaks HTTP/2, or seem to.
func seedsOfPrefaces() []laneSeed {
	var frames bytes.Buffer
	framer := http2.NewFramer(&frames, nil)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a.test"}, {Name: ":path", Value: "/1"}} {
		_ = encoder.WriteField(f)
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	all := []laneSeed{
		{h2.Preface + frames.String(), ""}, {h2.Preface + frames.String()[:9], ""}, {getOf("/418") + h2.Preface + frames.String(), ""}, {h2.Preface + "garbage of a client", ""},
		{"PRI / HTTP/1.1\r\nHost: a.test\r\n\r\n" + getOf("/418"), ""}, {"PRI * HTTP/2.0\r\nHost: a.test\r\n\r\n", ""}, {"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", ""},
	}
	for n := range len(h2.Preface) {
		all = append(all, laneSeed{h2.Preface[:n], ""})
	}
	return all
}
