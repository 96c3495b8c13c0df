package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// attack is a file of testdata/smuggling: what a client sends, and what has to
// come of it. A line is one of
//
//	# comment
//	expect 400 501              the client gets a response with one of these statuses, ...
//	expect 200 HEAD             ... to a HEAD request; then the next "expect"; then the end
//	expect none                 ... or just the end
//	sees POST /target "body"    a whole request that reaches the upstream; then the next "sees"
//	begins POST /target         a request that may begin to reach the upstream, but not as a whole
//	has Name: value             a field of all requests that reach the upstream, once
//	lacks Name                  a field of none of them
//	half-close                  the client closes its side after the last byte
//	"bytes\r\n"                 what the client sends, a Go string
//	70000 * "a"                 the same, repeated
//
// Without "sees" and "begins", not a byte reaches the upstream.
type attack struct {
	answers   []answer
	sees      []string // `POST /target "body"`
	begins    string   // "POST /target", or ""
	has       []string // "Name: value"
	lacks     []string
	halfClose bool
	bytes     string
}

type answer struct {
	statuses []int
	method   string
}

// bytewise is up to which size an attack is also sent one byte at a time.
const bytewise = 1 << 10

// TestSmugglingCorpus sends every attack in one piece and byte by byte. All bytes
// that reach the upstream are recorded, and the record is complete: the proxy has
// ended when it is read.
func TestSmugglingCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/smuggling/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			a := readAttack(t, file)
			runAtOnce(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
				up := newRecorder(t)
				g.route("/", up.backend)
				g.apply()
				a.send(g, len(a.bytes))
				if len(a.bytes) <= bytewise {
					a.send(g, 1)
				}
				g.stop()
				<-g.ended
				a.check(t, up.end(t))
			})
		})
	}
}

var repeated = regexp.MustCompile(`^([0-9]+) \* (".*")$`)

func readAttack(t *testing.T, file string) *attack {
	t.Helper()
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
	if len(a.answers) == 0 || a.bytes == "" {
		t.Fatalf("%s: nothing to send or to expect", file)
	}
	return a
}

func (a *attack) read(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "#":
	case "expect":
		expected := answer{method: "GET"}
		for word := range strings.FieldsSeq(rest) {
			status, err := strconv.Atoi(word)
			switch {
			case err == nil:
				expected.statuses = append(expected.statuses, status)
			case word != "none":
				expected.method = word
			}
		}
		a.answers = append(a.answers, expected)
	case "sees":
		a.sees = append(a.sees, rest)
	case "begins":
		a.begins = rest
	case "has":
		a.has = append(a.has, rest)
	case "lacks":
		a.lacks = append(a.lacks, rest)
	case "half-close":
		a.halfClose = true
	default:
		times := 1
		if m := repeated.FindStringSubmatch(line); m != nil {
			times, _ = strconv.Atoi(m[1])
			line = m[2]
		}
		s, err := strconv.Unquote(line)
		if err != nil {
			return err
		}
		a.bytes += strings.Repeat(s, times)
	}
	return nil
}

// send sends the attack in pieces of a size, and checks the answers.
func (a *attack) send(g *gateway, size int) {
	g.t.Helper()
	c := g.dial()
	defer c.conn.Close()
	for piece := range slices.Chunk([]byte(a.bytes), size) {
		if _, err := c.conn.Write(piece); err != nil {
			break // it was refused before it was complete
		}
	}
	if a.halfClose {
		_ = c.conn.(closeWriter).CloseWrite()
	}
	for _, expected := range a.answers {
		if len(expected.statuses) == 0 {
			break
		}
		res, _ := c.response(expected.method)
		if !slices.Contains(expected.statuses, res.StatusCode) {
			g.t.Errorf("in pieces of %d bytes: got %d, want %v", size, res.StatusCode, expected.statuses)
		}
	}
	if last := a.answers[len(a.answers)-1]; slices.Contains(last.statuses, http.StatusOK) {
		_ = c.conn.(closeWriter).CloseWrite() // it was no mistake: the connection goes on until then
	}
	c.expectEnd()
}

// check compares with what all connections to the upstream have brought, which is
// the same twice if it was sent twice.
func (a *attack) check(t *testing.T, connections [][]byte) {
	t.Helper()
	var got, begun []string
	for _, received := range connections {
		whole, rest := a.requests(t, received)
		got = append(got, whole...)
		if len(rest) == 0 {
			continue
		}
		line, _, _ := bytes.Cut(rest, []byte(" HTTP/1.1\r\n"))
		begun = append(begun, string(line))
	}
	want := a.sees
	if len(a.bytes) <= bytewise {
		want = slices.Concat(want, want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the upstream saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range begun {
		if line != a.begins {
			t.Errorf("the upstream saw %q begin, want %q", line, a.begins)
		}
	}
}

// requests splits what came over one connection into requests, as the upstream's
// own parser does, and returns what is left. Each head is also checked by rules
// simpler than any parser's.
func (a *attack) requests(t *testing.T, received []byte) (whole []string, rest []byte) {
	t.Helper()
	for {
		left := bytes.NewReader(received)
		in := bufio.NewReader(left)
		req, err := http.ReadRequest(in)
		if err != nil {
			return whole, received
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return whole, received
		}
		head, _, _ := strings.Cut(string(received), "\r\n\r\n")
		a.checkHead(t, head)
		whole = append(whole, fmt.Sprintf("%s %s %s", req.Method, req.RequestURI, strconv.QuoteToASCII(string(body))))
		received = received[len(received)-left.Len()-in.Buffered():]
	}
}

func (a *attack) checkHead(t *testing.T, head string) {
	t.Helper()
	fields := map[string][]string{}
	lines := strings.Split(head, "\r\n")
	if i := strings.IndexFunc(strings.Join(lines, ""), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		t.Errorf("the head has a control character: %q", head)
	}
	for _, line := range lines[1:] {
		name, value, found := strings.Cut(line, ": ")
		if !found || !regexp.MustCompile(`^[!#$%&'*+.^_`+"`"+`|~0-9A-Za-z-]+$`).MatchString(name) {
			t.Errorf("the upstream saw a line that is no field: %q", line)
		}
		name = strings.ToLower(name)
		fields[name] = append(fields[name], value)
	}
	if len(fields["host"]) != 1 || len(fields["content-length"])+len(fields["transfer-encoding"]) > 1 {
		t.Errorf("Host, Content-Length and Transfer-Encoding are not clear: %q", head)
	}
	for _, field := range a.has {
		name, value, _ := strings.Cut(field, ": ")
		value, _ = strconv.Unquote(`"` + value + `"`)
		if got := fields[strings.ToLower(name)]; !slices.Equal(got, []string{value}) {
			t.Errorf("%s is %q, want %q once", name, got, value)
		}
	}
	for _, name := range a.lacks {
		if got, found := fields[strings.ToLower(name)]; found {
			t.Errorf("%s went upstream: %q", name, got)
		}
	}
}

// recorder is an upstream that answers every whole request, and keeps all bytes
// that reach it.
type recorder struct {
	backend     *router.Backend
	listener    net.Listener
	connections []*bytes.Buffer // of each in the order in which they came
	accepted    chan struct{}   // closed when none comes any more
	served      sync.WaitGroup
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{backend: backendAt(listener.Addr()), listener: listener, accepted: make(chan struct{})}
	go func() {
		defer close(r.accepted)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			kept := &bytes.Buffer{}
			r.connections = append(r.connections, kept)
			r.served.Go(func() { r.serve(conn, kept) })
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return r
}

func (r *recorder) serve(conn net.Conn, kept *bytes.Buffer) {
	defer conn.Close()
	in := bufio.NewReader(io.TeeReader(conn, kept))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			break
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			break
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	_, _ = io.Copy(io.Discard, in)
}

// end waits until the bytes of all connections are there, which the proxy must
// have closed, and returns them.
func (r *recorder) end(t *testing.T) [][]byte {
	t.Helper()
	// Connections are accepted in their order: once this one is, none is waiting.
	last, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(last, "GET / HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil {
		t.Fatal(err)
	}
	last.Close()
	r.listener.Close()
	<-r.accepted
	r.served.Wait()
	var all [][]byte
	for _, kept := range r.connections[:len(r.connections)-1] {
		all = append(all, kept.Bytes())
	}
	return all
}
