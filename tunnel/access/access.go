// Package access checks that requests have passed Cloudflare Access: that they carry an
// assertion which Access has signed for an application of ours. Who knows of another way to
// a tunnel's hostname than through Access finds it closed.
//
//	access.go   what an assertion must say
//	keys.go     the keys that it must be signed with
package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// Field is the field of a request that has the assertion.
	Field = "Cf-Access-Jwt-Assertion"
	// leeway is how far clocks may differ.
	leeway = time.Minute
	// maxAssertion bounds an assertion, in bytes; those of Access have some 1,000.
	maxAssertion = 16 << 10
	// teamSuffix is of the names of all teams.
	teamSuffix = ".cloudflareaccess.com"
	// logEvery is how often the log tells of refusals.
	logEvery = time.Minute
)

// Options of a Validator. TeamDomain and Audiences must be set.
type Options struct {
	// TeamDomain is "example.cloudflareaccess.com", or just "example".
	TeamDomain string
	// Audiences are the tags (AUD) of the applications that assertions are taken from.
	Audiences []string
	Client    *http.Client     // nil is http.DefaultClient
	Log       *slog.Logger     // nil discards
	Now       func() time.Time // nil is time.Now
}

// Validator checks requests. Its methods may be called by many goroutines.
type Validator struct {
	issuer    string
	audiences []string
	log       *slog.Logger
	now       func() time.Time
	keys      *keys

	mu     sync.Mutex // guards what follows
	logged time.Time
}

// New returns a Validator. It asks for keys as soon as there is an assertion to check.
func New(o Options) (*Validator, error) {
	domain, err := teamDomain(o.TeamDomain)
	if err != nil {
		return nil, err
	}
	if len(o.Audiences) == 0 {
		return nil, errors.New("access needs audiences: the AUD tags of the applications, as the dashboard of Zero Trust shows them")
	}
	v := &Validator{issuer: "https://" + domain, audiences: o.Audiences, log: o.Log, now: o.Now}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.now == nil {
		v.now = time.Now
	}
	v.keys = &keys{url: v.issuer + "/cdn-cgi/access/certs", client: cmp.Or(o.Client, http.DefaultClient), log: v.log, now: v.now}
	return v, nil
}

// teamDomain is the domain of a team, which may be given as a URL or by the team's name
// alone.
func teamDomain(text string) (string, error) {
	domain := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(text, "https://"), "/"))
	if domain != "" && !strings.Contains(domain, ".") {
		domain += teamSuffix
	}
	if !regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]+$`).MatchString(domain) {
		return "", fmt.Errorf("access: %q is no team domain; one is like example%s", text, teamSuffix)
	}
	return domain, nil
}

// algorithms are those that Access signs with, and may sign with.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
}

// Check returns nil when a request has passed Access, and otherwise an error that says why
// it is not known to have. Without keys nothing has. It waits for keys at most some
// seconds, and seldom at all.
func (v *Validator) Check(r *http.Request) error {
	err := v.check(r.Context(), r.Header[Field])
	if err != nil {
		v.tell(r, err)
	}
	return err
}

func (v *Validator) check(ctx context.Context, fields []string) error {
	switch {
	case len(fields) == 0:
		return errors.New("the request has no assertion of Access: it did not pass there")
	case len(fields) > 1 || len(fields[0]) > maxAssertion:
		return errors.New("the assertion of Access is malformed")
	}
	token, err := jwt.ParseSigned(fields[0], algorithms())
	if err != nil || len(token.Headers) != 1 {
		return errors.New("the assertion of Access is malformed, or signed in another way than Access does")
	}
	key, err := v.keys.find(ctx, token.Headers[0].KeyID)
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := token.Claims(key, &claims); err != nil {
		return errors.New("the assertion of Access has a signature that is not of the team's keys")
	}
	if claims.Expiry == nil {
		return errors.New("the assertion of Access never expires")
	}
	err = claims.ValidateWithLeeway(jwt.Expected{Issuer: v.issuer, AnyAudience: v.audiences, Time: v.now()}, leeway)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return fmt.Errorf("the assertion of Access is by %.100q, not by %s", claims.Issuer, v.issuer)
	case errors.Is(err, jwt.ErrInvalidAudience):
		return fmt.Errorf("the assertion of Access is for another application, with the tag %.200q", claims.Audience)
	case errors.Is(err, jwt.ErrExpired):
		return fmt.Errorf("the assertion of Access has expired at %s", claims.Expiry.Time().UTC().Format(time.RFC3339))
	default:
		return fmt.Errorf("the assertion of Access is not valid now: %w", err)
	}
}

// tell logs a refusal now and then: the access log has all of them.
func (v *Validator) tell(r *http.Request, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := v.now(); v.logged.IsZero() || now.Sub(v.logged) >= logEvery {
		v.logged = now
		v.log.Warn("request refused, as it did not pass Cloudflare Access", "host", r.Host, "error", err)
	}
}
