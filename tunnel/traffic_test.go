package tunnel_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/tunnel"
)

func TestRequestIsTheClients(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.Header().Set("Cf-Cloudflared-Response-Meta", "forged")
			for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Cf-Cloudflared-Proxy-Src"} {
				w.Header().Set("Seen-"+name, r.Header.Get(name))
			}
			w.WriteHeader(http.StatusTeapot)
			body, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Method, " ", r.Host, " ", r.RequestURI, " ", string(body))
		})
		req, _ := http.NewRequest(http.MethodPost, "https://app.example.com/a%2Fb?c=d%20e&u=http://x/", strings.NewReader("text"))
		req.Header.Set("Cf-Connecting-Ip", "2001:db8::9")
		req.Header.Set("X-Forwarded-For", "10.0.0.1")
		req.Header.Set("X-Real-Ip", "10.0.0.1")
		res, body := do(t, s, req)
		if res.StatusCode != http.StatusTeapot || body != "POST app.example.com /a%2Fb?c=d%20e&u=http://x/ text" {
			t.Errorf("%s: %q", res.Status, body)
		}
		for name, want := range map[string]string{
			"X-Forwarded-For": "2001:db8::9", "X-Real-Ip": "2001:db8::9", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "app.example.com", "X-Forwarded-Port": "443", "Cf-Cloudflared-Proxy-Src": "",
		} {
			if got := res.Header.Get("Seen-" + name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if cookies := res.Header["Set-Cookie"]; len(cookies) != 2 || res.Header.Get("Cf-Cloudflared-Response-Meta") != "" {
			t.Errorf("fields %v", res.Header)
		}
		if r := s.report(1); r.Client.String() != "2001:db8::9" || r.Socket != secureSocket || r.Scheme != "https" || r.Status != http.StatusTeapot {
			t.Errorf("report %+v", r)
		}
	})
}

// do sends a request, and reads the response.
func do(t testing.TB, s *site, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func get(t testing.TB, s *site, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "https://app.example.com"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, s, req)
}

func TestRequestsLandOnTheSocketOfTheirScheme(t *testing.T) {
	s := connected(t, siteOptions{})
	s.serve("/", func(http.ResponseWriter, *http.Request) {})
	req, _ := http.NewRequest(http.MethodGet, "http://app.example.com/", nil)
	req.Header.Set("X-Forwarded-Proto", "http")
	if res, _ := do(t, s, req); res.StatusCode != http.StatusNotFound { // no Rule of the plain socket
		t.Errorf("http: %s", res.Status)
	}
	if res, _ := get(t, s, "/"); res.StatusCode != http.StatusOK {
		t.Errorf("https: %s", res.Status)
	}
}

func TestTwentyMegabytesBothWaysAtOnce(t *testing.T) {
	const size = 20 << 20
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusOK)
			_, _ = io.Copy(w, r.Body)
		})
		sent, received := sha256.New(), sha256.New()
		source := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
		req, _ := http.NewRequest(http.MethodPost, "https://app.example.com/", io.NopCloser(io.TeeReader(source, sent)))
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		n, err := io.Copy(received, res.Body)
		if err != nil || n != size || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			t.Errorf("%d bytes came back of %d: %v", n, size, err)
		}
	})
}

func TestEventsComeAsTheyAreSent(t *testing.T) {
	alone(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		// A machine that others use, too, may stand still now and then; a buffer would delay events each time.
		for attempt := range 30 {
			late := s.lateEvents()
			if len(late) == 0 {
				return
			}
			t.Logf("attempt %d: late events %v", attempt, late)
		}
		t.Error("events were late, each time")
	})
}

// lateEvents lets an origin send ten events, one after the other has arrived, and returns how
// long those took that were under way for more than 50 ms.
func (s *site) lateEvents() (late []time.Duration) {
	s.t.Helper()
	const events = 10
	next := make(chan struct{})
	s.rules = nil
	s.serve("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range events {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano())
			_ = http.NewResponseController(w).Flush()
		}
	})
	type answer struct {
		res *http.Response
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		res, err := s.client.Get("https://app.example.com/")
		answered <- answer{res, err}
	}()
	next <- struct{}{}
	first := <-answered
	if first.err != nil {
		s.t.Fatal(first.err)
	}
	defer first.res.Body.Close()
	body := bufio.NewReader(first.res.Body)
	for i := range events {
		line, err := body.ReadString('\n')
		var at int64
		if _, scanErr := fmt.Sscanf(line, "data: %d", &at); scanErr != nil {
			s.t.Fatalf("event %d is %q: %v", i, line, err)
		}
		if delay := time.Since(time.Unix(0, at)); delay > 50*time.Millisecond {
			late = append(late, delay)
		}
		_, _ = body.ReadString('\n')
		if i < events-1 {
			next <- struct{}{}
		}
	}
	return late
}
