package tunnel

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
)

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		name, client, forwarded string
		address, left           string
	}{
		{"a chain", "203.0.113.7", "10.0.0.1, 203.0.113.7", "203.0.113.7:0", "10.0.0.1"},
		{"the client alone", "203.0.113.7", "203.0.113.7", "203.0.113.7:0", ""},
		{"another last hop", "203.0.113.7", "203.0.113.7, 10.0.0.1", "203.0.113.7:0", "203.0.113.7, 10.0.0.1"},
		{"IPv6", "2001:DB8::1", "2001:db8::1", "[2001:db8::1]:0", ""},
		{"IPv4 in IPv6", "::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7:0", ""},
		{"nobody", "", "203.0.113.7", "", "203.0.113.7"},
		{"nonsense", "me", "203.0.113.7", "", "203.0.113.7"},
	} {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{}}
		r.Header.Set(clientField, tt.client)
		r.Header.Set(forwardedField, tt.forwarded)
		identify(r)
		if r.RemoteAddr != tt.address || r.Header.Get(forwardedField) != tt.left {
			t.Errorf("%s: %q, %q", tt.name, r.RemoteAddr, r.Header.Get(forwardedField))
		}
	}
}

func TestIdentifyTakesOffWhatIsAboutTheConnection(t *testing.T) {
	h := http.Header{"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Upgrade": {"h2c"}, "Te": {"gzip"}, "Transfer-Encoding": {"chunked"}, "Keep-Alive": {"1"},
		upgradeField: {"websocket"}, streamField: {"1"}, "Cf-Ray": {"x"}}
	r := &http.Request{URL: &url.URL{}, Header: h}
	identify(r)
	if len(h) != 1 || h.Get("Cf-Ray") != "x" {
		t.Errorf("%v", h)
	}
}

func TestRequestOfAStream(t *testing.T) {
	for dest, want := range map[string]string{
		"/a?b=http://c/":                 "/a?b=http://c/",
		"http://app.test/a%2Fb?c":        "/a%2Fb?c",
		"https://app.test":               "/",
		"https://app.test?q":             "/?q",
		"http://app.test:80//double/../": "//double/../",
	} {
		head := &pogs.ConnectRequest{Dest: dest, Metadata: []pogs.Metadata{
			{Key: "HttpMethod", Val: "POST"}, {Key: "HttpHost", Val: "app.test"},
			{Key: "HttpHeader:Content-Length", Val: "4"}, {Key: "HttpHeader:x-odd:name", Val: "1"},
		}}
		r, err := requestOf(head, io.NopCloser(strings.NewReader("text and more")))
		if err != nil || r.RequestURI != want || r.Method != http.MethodPost || r.Host != "app.test" || r.ContentLength != 4 {
			t.Errorf("%s: %+v, %v", dest, r, err)
			continue
		}
		if body, err := io.ReadAll(r.Body); string(body) != "text" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
	}
}

func TestBodyThatIsCutShort(t *testing.T) {
	head := &pogs.ConnectRequest{Dest: "/", Metadata: []pogs.Metadata{{Key: "HttpHeader:Content-Length", Val: "9"}}}
	r, err := requestOf(head, io.NopCloser(strings.NewReader("text")))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r.Body); string(body) != "text" || err == nil {
		t.Errorf("body %q ended in order", body)
	}
	head.Metadata[0].Val = "-1"
	if _, err := requestOf(head, http.NoBody); err == nil {
		t.Error("a length of -1 was taken")
	}
}
