package access_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/lintel-dev/lintel/tunnel/access"
)

const (
	issuer   = "https://example.cloudflareaccess.com"
	audience = "4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2"
)

// team is a FAKE of what Cloudflare serves for a team: the keys of Access. It is reached by
// an http.Client alone.
type team struct {
	*testing.T

	mu    sync.Mutex // guards what follows
	keys  map[string]signer
	extra []json.RawMessage
	down  bool
	asked int
	now   time.Time
}

type signer struct {
	private   crypto.Signer
	algorithm jose.SignatureAlgorithm
}

func newTeam(t *testing.T) *team {
	t.Helper()
	m := &team{T: t, keys: map[string]signer{}, now: time.Now().Truncate(time.Second)}
	m.add("first")
	return m
}

func (m *team) add(id string) {
	m.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		m.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[id] = signer{private, jose.RS256}
}

// RoundTrip implements http.RoundTripper.
func (m *team) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.down {
		return nil, errors.New("network is unreachable")
	}
	if r.URL.String() != issuer+"/cdn-cgi/access/certs" {
		return &http.Response{StatusCode: http.StatusNotFound, Status: "404 Not Found", Body: http.NoBody}, nil
	}
	keys := append([]json.RawMessage{}, m.extra...)
	for id, s := range m.keys {
		text, err := json.Marshal(jose.JSONWebKey{Key: s.private.Public(), KeyID: id, Algorithm: string(s.algorithm), Use: "sig"})
		if err != nil {
			return nil, err
		}
		keys = append(keys, text)
	}
	body, err := json.Marshal(map[string]any{"keys": keys, "public_cert": map[string]string{"kid": "first", "cert": "-----BEGIN"}})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(body)))}, err
}

func (m *team) set(change func(*team)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *team) questions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *team) validator() *access.Validator {
	m.Helper()
	v, err := access.New(access.Options{
		TeamDomain: "example", Audiences: []string{"another", audience}, Client: &http.Client{Transport: m},
		Now: func() time.Time {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.now
		},
	})
	if err != nil {
		m.Fatal(err)
	}
	return v
}

// claims are what Access says of a person.
func (m *team) claims(changes map[string]any) map[string]any {
	all := map[string]any{
		"aud": []string{audience}, "iss": issuer, "email": "a@example.com", "type": "app", "sub": "7335d417",
		"iat": m.now.Unix(), "nbf": m.now.Unix(), "exp": m.now.Add(time.Hour).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

func (m *team) sign(id string, claims map[string]any) string {
	m.Helper()
	return m.signWith(m.keys[id], id, claims)
}

func (m *team) signWith(by signer, id string, claims map[string]any) string {
	m.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: by.algorithm, Key: by.private}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		m.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		m.Fatal(err)
	}
	return text
}

func check(v *access.Validator, assertions ...string) error {
	r := &http.Request{Header: http.Header{}, Host: "app.example.com"}
	for _, a := range assertions {
		r.Header.Add("cf-access-jwt-assertion", a)
	}
	return v.Check(r)
}

func TestOnlyWhatAccessSaysPasses(t *testing.T) {
	m := newTeam(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.keys["curve"] = signer{curve, jose.ES256}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	v := m.validator()
	good := m.sign("first", m.claims(nil))
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	parts := strings.Split(good, ".")
	unsigned := encode(`{"alg":"none","kid":"first","typ":"JWT"}`) + "." + parts[1] + "."
	public, _ := json.Marshal(stranger.Public())
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, (&jose.SignerOptions{}).WithHeader("kid", "first"))
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jwt.Signed(hmac).Claims(m.claims(nil)).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) int64 { return m.now.Add(d).Unix() }
	for name, test := range map[string]struct {
		assertion string
		says      string // "" passes
	}{
		"RS256":                 {good, ""},
		"ES256":                 {m.sign("curve", m.claims(nil)), ""},
		"audience as text":      {m.sign("first", m.claims(map[string]any{"aud": audience})), ""},
		"clocks differ":         {m.sign("first", m.claims(map[string]any{"nbf": at(30 * time.Second), "iat": at(30 * time.Second)})), ""},
		"wrong audience":        {m.sign("first", m.claims(map[string]any{"aud": []string{"other"}})), "another application"},
		"no audience":           {m.sign("first", m.claims(map[string]any{"aud": nil})), "another application"},
		"wrong issuer":          {m.sign("first", m.claims(map[string]any{"iss": "https://evil.cloudflareaccess.com"})), "not by " + issuer},
		"no issuer":             {m.sign("first", m.claims(map[string]any{"iss": nil})), "not by " + issuer},
		"expired":               {m.sign("first", m.claims(map[string]any{"exp": at(-2 * time.Minute)})), "has expired"},
		"never expires":         {m.sign("first", m.claims(map[string]any{"exp": nil})), "never expires"},
		"not yet":               {m.sign("first", m.claims(map[string]any{"nbf": at(2 * time.Minute)})), "not valid now"},
		"alg none":              {unsigned, "signed in another way"},
		"HMAC":                  {symmetric, "signed in another way"},
		"another's key":         {m.signWith(signer{stranger, jose.RS256}, "first", m.claims(nil)), "signature"},
		"a key nobody has":      {m.signWith(signer{stranger, jose.RS256}, "unknown", m.claims(nil)), "does not have"},
		"no key named":          {m.signWith(signer{stranger, jose.RS256}, "", m.claims(nil)), "does not have"},
		"RS256 by a curve's id": {m.signWith(signer{stranger, jose.RS256}, "curve", m.claims(nil)), "signature"},
		"changed":               {parts[0] + "." + encode(`{"aud":["`+audience+`"],"iss":"`+issuer+`","exp":9999999999}`) + "." + parts[2], "signature"},
		"no signature":          {parts[0] + "." + parts[1] + ".", "signature"},
		"not a token":           {"hello", "malformed"},
		"empty":                 {"", "malformed"},
		"too long":              {strings.Repeat("a", 1<<20), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			switch err := check(v, test.assertion); {
			case test.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("want an error with %q, got %v", test.says, err)
			}
		})
	}
	if err := check(v); err == nil || !strings.Contains(err.Error(), "no assertion") {
		t.Errorf("without an assertion: %v", err)
	}
	if check(v, good, good) == nil {
		t.Error("two assertions pass")
	}
}

func TestNewKeysAreFound(t *testing.T) {
	m := newTeam(t)
	v := m.validator()
	first := m.sign("first", m.claims(map[string]any{"exp": m.now.Add(24 * time.Hour).Unix()}))
	for range 100 {
		if err := check(v, first); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.questions(); n != 1 {
		t.Errorf("keys were asked for %d times", n)
	}
	m.add("second")
	second := m.sign("second", m.claims(map[string]any{"exp": m.now.Add(24 * time.Hour).Unix()}))
	m.set(func(m *team) { m.now = m.now.Add(2 * time.Minute) })
	for range 3 {
		if err := errors.Join(check(v, first), check(v, second)); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.questions(); n != 2 {
		t.Errorf("keys were asked for %d times", n)
	}
	// The first is withdrawn.
	m.set(func(m *team) {
		delete(m.keys, "first")
		m.now = m.now.Add(2 * time.Hour)
	})
	if err := check(v, second); err != nil {
		t.Fatal(err)
	}
	if check(v, first) == nil {
		t.Error("a key that is withdrawn is still good")
	}
}

// A key that came while the keys could not be asked for is found soon after.
func TestNewKeysAreFoundAfterAnOutage(t *testing.T) {
	m := newTeam(t)
	v := m.validator()
	if err := check(v, m.sign("first", m.claims(nil))); err != nil {
		t.Fatal(err)
	}
	m.add("second")
	m.set(func(m *team) {
		m.down = true
		m.now = m.now.Add(2 * time.Minute)
	})
	second := m.sign("second", m.claims(nil))
	for range 2 {
		if check(v, second) == nil {
			t.Error("a key that is not known is good")
		}
	}
	if n := m.questions(); n != 2 {
		t.Errorf("keys were asked for %d times", n)
	}
	m.set(func(m *team) {
		m.down = false
		m.now = m.now.Add(6 * time.Second)
	})
	if err := check(v, second); err != nil {
		t.Error(err)
	}
}

func TestQuestionsForKeysAreBounded(t *testing.T) {
	m := newTeam(t)
	v := m.validator()
	forged := m.signWith(m.keys["first"], "made up", m.claims(nil))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if check(v, forged) == nil {
				t.Error("a key that does not exist is good")
			}
		})
	}
	all.Wait()
	if n := m.questions(); n != 1 {
		t.Errorf("keys were asked for %d times", n)
	}
	m.set(func(m *team) { m.now = m.now.Add(61 * time.Second) })
	_, _ = check(v, forged), check(v, forged)
	if n := m.questions(); n != 2 {
		t.Errorf("keys were asked for %d times after a minute", n)
	}
}

func TestKnownKeysStayInAnOutage(t *testing.T) {
	m := newTeam(t)
	m.down = true
	v := m.validator()
	good := m.sign("first", m.claims(map[string]any{"exp": m.now.Add(24 * time.Hour).Unix()}))
	if err := check(v, good); err == nil || !strings.Contains(err.Error(), "not known: ") {
		t.Fatalf("without keys: %v", err)
	}
	m.set(func(m *team) { m.down = false })
	if check(v, good) == nil {
		t.Error("asked again at once")
	}
	m.set(func(m *team) { m.now = m.now.Add(6 * time.Second) })
	if err := check(v, good); err != nil {
		t.Fatal(err)
	}
	m.set(func(m *team) {
		m.down = true
		m.now = m.now.Add(5 * time.Hour)
	})
	for range 10 {
		if err := check(v, good); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.questions(); n != 3 {
		t.Errorf("keys were asked for %d times", n)
	}
}

// A kind of key that is not known yet must not take away the others.
func TestKeysOfOtherKindsAreLeftOut(t *testing.T) {
	m := newTeam(t)
	m.extra = []json.RawMessage{[]byte(`{"kty":"PQ","kid":"new","x":"AAAA"}`), []byte(`7`), []byte(`{"kty":"oct","kid":"secret","k":"AAAA"}`)}
	if err := check(m.validator(), m.sign("first", m.claims(nil))); err != nil {
		t.Fatal(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, domain := range []string{"", "a b", "http://example.com", "example.cloudflareaccess.com/path", "user@example.com", "-.com"} {
		if _, err := access.New(access.Options{TeamDomain: domain, Audiences: []string{audience}}); err == nil {
			t.Errorf("team domain %q is good", domain)
		}
	}
	for _, domain := range []string{"example", "https://example.cloudflareaccess.com/", "Example.cloudflareaccess.com"} {
		if _, err := access.New(access.Options{TeamDomain: domain, Audiences: []string{audience}}); err != nil {
			t.Error(err)
		}
	}
	if _, err := access.New(access.Options{TeamDomain: "example"}); err == nil {
		t.Error("no audience is good")
	}
}
