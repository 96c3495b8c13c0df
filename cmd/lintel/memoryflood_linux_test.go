package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/instance"
)

// A flood of large requests to a backend that takes nothing is met by refusals: what was
// begun ends well, Lintel stays below its limit of memory, and serves on.
func TestFloodOfRequestsBelowTheMemoryLimit(t *testing.T) {
	length := "Content-Length: " + strconv.Itoa(floodBody)
	for _, c := range []struct {
		lane, path, framing string
	}{
		{"on", "/", length},
		{"on", "/repeated", length},
		{"on", "/repeated", chunkedFraming},
		{"off", "/repeated", chunkedFraming},
	} {
		t.Run(fmt.Sprintf("%s, express lane %s, %s", c.path, c.lane, c.framing), func(t *testing.T) {
			f := startFlooded(t, "--express-lane="+c.lane)
			if most := f.flood(c.path, c.framing); most > floodLimit {
				t.Errorf("%d bytes in use with a limit of %d", most, floodLimit)
			}
		})
	}
}

const chunkedFraming = "Transfer-Encoding: chunked"

const (
	floodLimit   = 64 << 20 // bytes, Lintel's
	floodClients = 1500
	floodBody    = 192 << 10 // several times what is kept of one, and as much as is read after a refusal
)

// flooded is a Lintel with a backend that reads nothing before release is closed.
type flooded struct {
	*testing.T
	lintel  *instance.Instance
	address string
	release chan struct{}
}

func startFlooded(t *testing.T, flags ...string) *flooded {
	f := &flooded{T: t, address: instance.FreeAddress(t), release: make(chan struct{})}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-f.release
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}))
	t.Cleanup(backend.Close)
	folder := t.TempDir()
	replaceFile(t, filepath.Join(folder, "all.yaml"),
		instance.Together(instance.PlainGateway(f.address), floodedRoute, instance.Service("app", backend.Listener.Addr().String())))
	program := filepath.Join(t.TempDir(), "lintel") // by this name the test binary is lintel
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, program)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.lintel = instance.Start(t, program, folder, append(flags, "--memory-limit", strconv.Itoa(floodLimit), "--read-header-timeout=60s", "--body-stall-timeout=60s")...)
	return f
}

// answers is what the clients of a flood got.
type answers struct {
	served, refused int
	odd             []string
}

// flood sends requests, and returns how much memory Lintel took at most meanwhile.
func (f *flooded) flood(path, framing string) int {
	var clients, begun sync.WaitGroup
	var mu sync.Mutex
	var got answers
	refused := make(chan struct{})
	for range floodClients {
		begun.Add(1)
		clients.Go(func() {
			status, retryAfter, err := f.post(path, framing, begun.Done)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && status == http.StatusOK:
				got.served++
			case err == nil && status == http.StatusServiceUnavailable && retryAfter != "":
				if got.refused++; got.refused == 1 {
					close(refused)
				}
			default:
				got.odd = append(got.odd, fmt.Sprintf("%v, %d, Retry-After %q", err, status, retryAfter))
			}
		})
	}
	most := 0
	watched := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			most = max(most, f.inUse())
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	begun.Wait()
	select {
	case <-refused:
	case <-time.After(time.Minute):
	}
	close(f.release)
	clients.Wait()
	close(stop)
	<-watched
	f.Logf("%d served, %d refused, %d KiB at most", got.served, got.refused, most>>10)
	if got.served == 0 || got.refused == 0 || len(got.odd) > 0 {
		f.Errorf("%d served, %d refused with Retry-After, %d others, as %q", got.served, got.refused, len(got.odd), got.odd[:min(len(got.odd), 3)])
	}
	untilNil(f.T, "requests are served after the flood", func() error {
		status, _, err := f.post(path, framing, func() {})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return most
}

// post makes a request, and calls sent once nothing more of it is taken for now, or an
// answer came.
func (f *flooded) post(path, framing string, sent func()) (status int, retryAfter string, err error) {
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		sent()
		return 0, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a.test\r\n%s\r\n\r\n", path, framing)
		if framing == chunkedFraming {
			_, _ = fmt.Fprintf(conn, "%x\r\n", floodBody)
			defer io.WriteString(conn, "\r\n0\r\n\r\n")
		}
		_, _ = io.CopyN(conn, zeros{}, floodBody)
	}()
	defer func() { conn.Close(); <-wrote }()
	in := bufio.NewReader(conn)
	first := make(chan struct{})
	go func() {
		select {
		case <-first:
		case <-wrote:
		case <-time.After(time.Second):
		}
		sent()
	}()
	response, err := http.ReadResponse(in, nil)
	close(first)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Retry-After"), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// inUse is how many bytes Lintel says that its heap and stacks have: what is resident is
// several times as much under the race detector.
func (f *flooded) inUse() int {
	metrics, err := answerText(http.DefaultClient, "http://"+f.lintel.Admin()+"/metrics")
	if err != nil {
		f.Error(err)
	}
	sum := 0
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "go_memstats_heap_inuse_bytes" || name == "go_memstats_stack_inuse_bytes" {
			bytes, _ := strconv.ParseFloat(value, 64)
			sum += int(bytes)
		}
	}
	return sum
}

const floodedRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: web}]
  rules:
  - matches: [{path: {value: /repeated}}]
    retry: {attempts: 2, codes: [502]}
    backendRefs: [{name: app, port: 80}]
  - backendRefs: [{name: app, port: 80}]
`
