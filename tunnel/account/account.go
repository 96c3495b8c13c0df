// Package account finds or creates a tunnel in an account at Cloudflare, by its API, and
// reads the credentials that let a connector serve it.
package account

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/lintel-dev/lintel/internal/cloudflare"
	"github.com/lintel-dev/lintel/tunnel"
)

const (
	// perPage is how many tunnels are read by a request.
	perPage = 100
	// Numbers of the API's errors.
	codeNameTaken = 1013
	// ensureTries is how often it is looked again when the tunnel appears, or disappears,
	// meanwhile.
	ensureTries = 3
	// Permissions is what an API token must be allowed.
	Permissions = "Account, Cloudflare Tunnel, Edit"
)

// Options of an Account. Token and ID must be set.
type Options struct {
	// Token returns an API token with the [Permissions]. It is called for each request.
	Token  func() (string, error)
	ID     string       // the account's
	URL    string       // of the API; "" is Cloudflare's
	Client *http.Client // nil is http.DefaultClient
}

// Account has tunnels. It may be used by many goroutines.
type Account struct {
	id  string
	api *cloudflare.API
}

// New returns an Account.
func New(o Options) *Account {
	return &Account{id: o.ID, api: cloudflare.New(cloudflare.Options{
		Token: o.Token, Needs: Permissions + ", for the account " + o.ID, URL: o.URL, Client: o.Client,
	})}
}

// Error is why a tunnel could not be had.
type Error struct {
	// Permanent says that waiting does not help: the token, the account or the name has to
	// be mended. It is worth to try seldom all the same, for that is done at Cloudflare.
	Permanent bool
	// RetryAfter is how long the API wants to be left alone; zero if it did not say.
	RetryAfter time.Duration
	Err        error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// entry is a tunnel as the API tells of it. What it was called when it was deleted stays
// in the list.
type entry struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	DeletedAt *time.Time `json:"deleted_at"`
	Token     string     `json:"token"` // after creation alone
}

// Ensure returns the credentials of the tunnel with a name, which is created if there is
// none. So a tunnel that somebody has deleted comes back, with other credentials. Errors
// are of type [Error], and never contain a secret.
func (a *Account) Ensure(ctx context.Context, name string) (tunnel.Credentials, error) {
	if name == "" {
		return tunnel.Credentials{}, &Error{Permanent: true, Err: errors.New("a tunnel needs a name")}
	}
	var err error
	for range ensureTries {
		var token string
		if token, err = a.token(ctx, name); err == nil {
			credentials, parseErr := tunnel.ParseToken(token)
			if parseErr != nil {
				return tunnel.Credentials{}, classify(name, fmt.Errorf("read answer of Cloudflare: %w", parseErr))
			}
			return credentials, nil
		}
		if !isOf(err, func(e *cloudflare.Error) bool { return e.Code == codeNameTaken || e.Status == http.StatusNotFound }) {
			break
		}
	}
	return tunnel.Credentials{}, classify(name, err)
}

// Check asks for one tunnel: it shows whether the token may see those of the account.
// Errors are of type [Error].
func (a *Account) Check(ctx context.Context) error {
	err := a.api.Call(ctx, cloudflare.Request{Method: http.MethodGet, Path: a.path("?per_page=1&is_deleted=false")})
	if err == nil {
		return nil
	}
	return &Error{Permanent: permanent(err), RetryAfter: pause(err), Err: fmt.Errorf("list tunnels of the account %s: %w", a.id, err)}
}

// token finds or creates a tunnel.
func (a *Account) token(ctx context.Context, name string) (string, error) {
	terms := url.Values{"name": {name}, "is_deleted": {"false"}}
	found, err := cloudflare.List[entry](ctx, a.api, cloudflare.Query{Path: a.path(""), Terms: terms, Size: perPage})
	if err != nil {
		return "", err
	}
	for _, e := range found {
		if e.Name != name || e.DeletedAt != nil {
			continue
		}
		var token string
		err := a.api.Call(ctx, cloudflare.Request{Method: http.MethodGet, Path: a.path("/" + url.PathEscape(e.ID) + "/token"), Result: &token})
		return token, err
	}
	var created entry
	err = a.api.Call(ctx, cloudflare.Request{
		Method: http.MethodPost, Path: a.path(""), Result: &created,
		Body: map[string]string{"name": name, "config_src": "cloudflare"},
	})
	return created.Token, err
}

func (a *Account) path(rest string) string {
	return "/accounts/" + url.PathEscape(a.id) + "/cfd_tunnel" + rest
}

func classify(name string, err error) error {
	return &Error{Permanent: permanent(err), RetryAfter: pause(err), Err: fmt.Errorf("get tunnel %q: %w", name, err)}
}

// permanent tells whether something is to be mended first. What became of a request is not
// known when there was no answer.
func permanent(err error) bool { return isOf(err, (*cloudflare.Error).Lasting) }

func isOf(err error, what func(*cloudflare.Error) bool) bool {
	refused, ok := errors.AsType[*cloudflare.Error](err)
	return ok && what(refused)
}

func pause(err error) time.Duration {
	if wait, ok := errors.AsType[*cloudflare.WaitError](err); ok {
		return wait.After
	}
	return 0
}
