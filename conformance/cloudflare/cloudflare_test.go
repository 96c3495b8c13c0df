package cloudflare

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// reply is what came back for a request.
type reply struct {
	status int
	header http.Header
	Result json.RawMessage
	Errors []Failure
	Info   resultInfo `json:"result_info"`
}

func (r reply) code() int {
	if len(r.Errors) == 0 {
		return 0
	}
	return r.Errors[0].Code
}

func (s *Server) ask(t *testing.T, method, path, body string) reply {
	t.Helper()
	return s.askAs(t, Token, method, path, body)
}

func (s *Server) askAs(t *testing.T, token, method, path, body string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://api.cloudflare.com"+base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	r := reply{status: response.StatusCode, header: response.Header}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, content)
	}
	return r
}

func (s *Server) zoneID(t *testing.T, name string) string {
	t.Helper()
	var zones []zoneView
	if err := json.Unmarshal(s.ask(t, "GET", "/zones?name="+name, "").Result, &zones); err != nil || len(zones) != 1 {
		t.Fatalf("zones named %s: %v, %v", name, zones, err)
	}
	return zones[0].ID
}

func (s *Server) lookUp(t *testing.T, name string, kind uint16) *dns.Msg {
	t.Helper()
	var first *dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		answer, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), s.DNS)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && len(first.Answer) != len(answer.Answer) {
			t.Errorf("%s %s: UDP and TCP answer differently", name, dns.TypeToString[kind])
		}
		first = answer
	}
	return first
}

func TestARecordIsServedAsItWasWritten(t *testing.T) {
	cf := ForTest(t, Options{Zones: []string{"example.test"}})
	records := "/zones/" + cf.zoneID(t, "example.test.") + "/dns_records" // a dot as libdns sends it
	for _, body := range []string{
		`{"type":"A","name":"a","content":"192.0.2.1","ttl":120}`, // relative, as libdns sends it
		`{"type":"TXT","name":"_acme-challenge.a.example.test","content":"\"token\"","ttl":60}`,
		`{"type":"CNAME","name":"b.example.test","content":"a.example.test.","ttl":1}`,
		`{"type":"CNAME","name":"p.example.test","content":"x.cfargotunnel.com","proxied":true}`,
		`{"type":"A","name":"*.w.example.test","content":"192.0.2.7"}`,
		`{"type":"SRV","name":"_s._tcp.example.test","data":{"priority":1,"weight":2,"port":443,"target":"a.example.test"}}`,
		`{"type":"HTTPS","name":"a.example.test","data":{"priority":1,"target":".","value":"alpn=\"h2\""}}`,
	} {
		if r := cf.ask(t, "POST", records, body); r.status != http.StatusOK {
			t.Errorf("%s: %v", body, r.Errors)
		}
	}
	for _, c := range []struct {
		name string
		kind uint16
		want string // in the last answer
	}{
		{"A.example.test", dns.TypeA, "120\tIN\tA\t192.0.2.1"},
		{"b.example.test", dns.TypeA, "a.example.test.\t120\tIN\tA\t192.0.2.1"},
		{"_acme-challenge.a.example.test", dns.TypeTXT, `"token"`},
		{"p.example.test", dns.TypeA, "198.51.100.1"},
		{"any.w.example.test", dns.TypeA, "any.w.example.test.\t300\tIN\tA\t192.0.2.7"},
		{"_s._tcp.example.test", dns.TypeSRV, "1 2 443 a.example.test."},
		{"a.example.test", dns.TypeHTTPS, `1 . alpn="h2"`},
		{"example.test", dns.TypeSOA, "SOA"},
		{"example.test", dns.TypeNS, "NS"},
	} {
		answer := cf.lookUp(t, c.name, c.kind)
		if n := len(answer.Answer); n == 0 || !strings.Contains(answer.Answer[n-1].String(), c.want) || !answer.Authoritative {
			t.Errorf("%s %s: %v", c.name, dns.TypeToString[c.kind], answer)
		}
	}
	for name, rcode := range map[string]int{
		"none.example.test": dns.RcodeNameError, "w.example.test": dns.RcodeSuccess, "a.w.w.example.test": dns.RcodeSuccess, "example.org": dns.RcodeRefused,
	} {
		if answer := cf.lookUp(t, name, dns.TypeTXT); answer.Rcode != rcode || len(answer.Answer) != 0 {
			t.Errorf("%s: %v", name, answer)
		}
	}
}

func TestTheRulesOfTheAPIAreKept(t *testing.T) {
	cf := ForTest(t, Options{Zones: []string{"example.test"}})
	records := "/zones/" + cf.zoneID(t, "example.test") + "/dns_records"
	cf.ask(t, "POST", records, `{"type":"A","name":"a","content":"192.0.2.1"}`)
	cf.ask(t, "POST", records, `{"type":"CNAME","name":"c","content":"elsewhere.test"}`)
	for body, code := range map[string]int{
		`{"type":"A","name":"a","content":"192.0.2.1"}`:                                              81058,
		`{"type":"CNAME","name":"a","content":"b.test"}`:                                             81053,
		`{"type":"A","name":"c","content":"192.0.2.1"}`:                                              81054,
		`{"type":"A","name":"p","content":"10.0.0.1","proxied":true}`:                                9003,
		`{"type":"TXT","name":"p","content":"x","proxied":true}`:                                     9004,
		`{"type":"A","name":"p","content":"x"}`:                                                      9005,
		`{"type":"A","name":"p","content":"192.0.2.1","ttl":30}`:                                     9021,
		`{"type":"A","name":"p","content":"192.0.2.1","tags":["a:b"]}`:                               9300,
		`{"type":"A","name":"p","content":"192.0.2.1","comment":"` + strings.Repeat("c", 101) + `"}`: 9313,
		`{"type":"A","name":"a..b","content":"192.0.2.1"}`:                                           9000,
	} {
		if r := cf.ask(t, "POST", records, body); r.status != http.StatusBadRequest || r.code() != code {
			t.Errorf("%s: status %d, %v; want %d", body, r.status, r.Errors, code)
		}
	}
	if r := cf.ask(t, "DELETE", records+"/none", ""); r.code() != 81044 {
		t.Error("delete what is not there:", r.Errors)
	}
	if r := cf.ask(t, "GET", "/zones/none/dns_records", ""); r.code() != 7003 {
		t.Error("no zone:", r.Errors)
	}
}

func TestABatchIsATransaction(t *testing.T) {
	cf := ForTest(t, Options{Zones: []string{"example.test"}})
	records := "/zones/" + cf.zoneID(t, "example.test") + "/dns_records"
	old, err := cf.Put("example.test", Record{Type: "A", Name: "a", Content: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	broken := `{"deletes":[{"id":"` + old.ID + `"}],"posts":[{"type":"A","name":"b","content":"192.0.2.2"},{"type":"A","name":"b","content":"bad"}]}`
	if r := cf.ask(t, "POST", records+"/batch", broken); r.code() != 9005 {
		t.Error(r.Errors)
	}
	if left := cf.Records("example.test"); len(left) != 1 || left[0].ID != old.ID {
		t.Errorf("a batch that failed left %v", left)
	}
	// Deletions come first, so that a CNAME can take the place of an address.
	good := `{"posts":[{"type":"CNAME","name":"a","content":"b.test"}],"deletes":[{"id":"` + old.ID + `"}]}`
	if r := cf.ask(t, "POST", records+"/batch", good); r.status != http.StatusOK {
		t.Error(r.Errors)
	}
	if left := cf.Records("example.test"); len(left) != 1 || left[0].Type != "CNAME" {
		t.Errorf("left: %v", left)
	}
	var many []string
	for i := range 201 {
		many = append(many, `{"type":"A","name":"m`+string(rune('a'+i%26))+strings.Repeat("x", i/26)+`","content":"192.0.2.2"}`)
	}
	if r := cf.ask(t, "POST", records+"/batch", `{"posts":[`+strings.Join(many, ",")+`]}`); r.status != http.StatusBadRequest {
		t.Error("201 changes passed on a free plan")
	}
	if r := cf.ask(t, "POST", records+"/batch", `{"posts":[`+strings.Join(many[:200], ",")+`]}`); r.status != http.StatusOK {
		t.Error(r.Errors)
	}
	if r := cf.ask(t, "GET", records+"?per_page=150&page=2", ""); r.Info != (resultInfo{Page: 2, PerPage: 150, Count: 51, TotalCount: 201, TotalPages: 2}) {
		t.Errorf("page 2: %+v", r.Info)
	}
	if n := cf.Calls()["POST /zones/{zone}/dns_records/batch"]; n != 4 {
		t.Errorf("%d batches counted, want 4", n)
	}
}

func TestTokensDecideWhatIsSeen(t *testing.T) {
	cf := ForTest(t, Options{Zones: []string{"example.test", "other.test"}})
	const reader = "a-token-that-may-read-one-zone"
	cf.SetToken(reader, Grant{Zones: []string{"other.test"}})
	if r := cf.askAs(t, reader, "GET", "/zones", ""); r.Info.TotalCount != 1 {
		t.Errorf("the reader sees %d zones", r.Info.TotalCount)
	}
	for _, c := range []struct {
		token, method, path string
		status, code        int
	}{
		{"", "GET", "/zones", 400, 9106},
		{"short", "GET", "/zones", 400, 6003},
		{"a-token-that-nobody-has-ever-made", "GET", "/zones", 403, 9109},
		{"a-token-that-nobody-has-ever-made", "GET", "/user/tokens/verify", 401, 1000},
		{reader, "POST", "/zones/" + cf.zoneID(t, "other.test") + "/dns_records", 403, 10000},
		{reader, "GET", "/zones/" + cf.zoneID(t, "example.test") + "/dns_records", 404, 7003},
		{reader, "GET", "/accounts/" + AccountID + "/cfd_tunnel", 403, 10000},
	} {
		if r := cf.askAs(t, c.token, c.method, c.path, "{}"); r.status != c.status || r.code() != c.code {
			t.Errorf("%q %s %s: status %d, %v", c.token, c.method, c.path, r.status, r.Errors)
		}
	}
}

func TestRequestsAreLimitedInFiveMinutes(t *testing.T) {
	now := time.Now()
	cf := ForTest(t, Options{RequestLimit: 2, Now: func() time.Time { return now }})
	cf.ask(t, "GET", "/zones", "")
	if r := cf.ask(t, "GET", "/zones", ""); r.status != http.StatusOK || r.header.Get("Ratelimit") != `"default";r=0;t=300` {
		t.Errorf("second request: status %d, %s", r.status, r.header.Get("Ratelimit"))
	}
	now = now.Add(time.Minute)
	if r := cf.ask(t, "GET", "/zones", ""); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "240" {
		t.Errorf("third request: status %d, Retry-After %s", r.status, r.header.Get("Retry-After"))
	}
	now = now.Add(4 * time.Minute)
	if r := cf.ask(t, "GET", "/zones", ""); r.status != http.StatusOK {
		t.Errorf("in the next window: status %d", r.status)
	}
}

func TestFaultsAreInjected(t *testing.T) {
	cf := ForTest(t, Options{Zones: []string{"example.test"}})
	const create = "POST /zones/{zone}/dns_records"
	records := "/zones/" + cf.zoneID(t, "example.test") + "/dns_records"
	cf.Intercept(create, Times(1, LoseAnswer))
	if r := cf.ask(t, "POST", records, `{"type":"A","name":"a","content":"192.0.2.1"}`); r.status != http.StatusInternalServerError {
		t.Errorf("status %d", r.status)
	}
	if r := cf.ask(t, "POST", records, `{"type":"A","name":"a","content":"192.0.2.1"}`); r.code() != 81058 {
		t.Error("what was answered with 500 was not done:", r.Errors)
	}
	cf.Intercept(create, Refuse(Failure{Code: 971, Message: "slower"}, http.StatusTooManyRequests, 3*time.Second))
	if r := cf.ask(t, "POST", records, `{}`); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "3" {
		t.Errorf("status %d", r.status)
	}
	cf.Intercept("", Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", cf.URL+"/zones", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not hang: %v", err)
	}
}

func TestTunnelsAreCreatedOnceAndDeleted(t *testing.T) {
	cf := ForTest(t, Options{})
	const tunnels = "/accounts/" + AccountID + "/cfd_tunnel"
	var created struct{ ID, Token string }
	if err := json.Unmarshal(cf.ask(t, "POST", tunnels, `{"name":"home","config_src":"cloudflare"}`).Result, &created); err != nil {
		t.Fatal(err)
	}
	if r := cf.ask(t, "POST", tunnels, `{"name":"home"}`); r.status != http.StatusConflict || r.code() != 1013 {
		t.Error("a second one of that name:", r.Errors)
	}
	var token string
	if err := json.Unmarshal(cf.ask(t, "GET", tunnels+"/"+created.ID+"/token", "").Result, &token); err != nil || token != created.Token {
		t.Errorf("token %q, %v", token, err)
	}
	cf.ask(t, "DELETE", tunnels+"/"+created.ID, "")
	if r := cf.ask(t, "GET", tunnels+"?is_deleted=false&name=home", ""); r.Info.TotalCount != 0 {
		t.Error("it is still listed")
	}
	if r := cf.ask(t, "GET", tunnels+"/"+created.ID, ""); r.status != http.StatusNotFound {
		t.Errorf("status %d", r.status)
	}
	if len(created.ID) != 36 {
		t.Errorf("%q is no UUID", created.ID)
	}
}
