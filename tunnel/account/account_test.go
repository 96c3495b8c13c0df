package account_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	fake "github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/tunnel/account"
)

const (
	list     = "GET /accounts/{account}/cfd_tunnel"
	create   = "POST /accounts/{account}/cfd_tunnel"
	getToken = "GET /accounts/{account}/cfd_tunnel/{tunnel}/token"
)

func open(cf *fake.Server, token string) *account.Account {
	return account.New(account.Options{ID: fake.AccountID, Token: func() (string, error) { return token, nil }, Client: cf.HTTPClient()})
}

// remove deletes a tunnel as a person would.
func remove(t *testing.T, cf *fake.Server, id string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, cf.URL+"/accounts/"+fake.AccountID+"/cfd_tunnel/"+id, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+fake.Token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("delete tunnel: %s", response.Status)
	}
}

func TestATunnelIsCreatedOnce(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{})
	first, err := open(cf, fake.Token).Ensure(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	if first.Account != fake.AccountID || first.Secret == "" || !strings.HasSuffix(first.Hostname(), ".cfargotunnel.com") {
		t.Errorf("credentials of account %q, hostname %s", first.Account, first.Hostname())
	}
	again, err := open(cf, fake.Token).Ensure(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	if again != first {
		t.Error("the second time there are other credentials")
	}
	if n := cf.Calls()[create]; n != 1 {
		t.Errorf("%d tunnels were created", n)
	}
	other, err := open(cf, fake.Token).Ensure(t.Context(), "office")
	if err != nil || other.Tunnel == first.Tunnel {
		t.Errorf("another name: tunnel %s, error %v", other.Tunnel, err)
	}
}

func TestADeletedTunnelComesBackAsAnother(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{})
	a := open(cf, fake.Token)
	first, err := a.Ensure(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	remove(t, cf, first.Tunnel.String())
	second, err := a.Ensure(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	if second.Tunnel == first.Tunnel {
		t.Error("the credentials are of the tunnel that was deleted")
	}
}

// The API's filter is by the whole name, but a client can't rely on the order, nor on
// there being one page.
func TestATunnelIsFoundOnALaterPage(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{RequestLimit: -1})
	a := open(cf, fake.Token)
	for i := range 120 {
		if _, err := a.Ensure(t.Context(), fmt.Sprintf("tunnel-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := a.Ensure(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	cf.Intercept(list, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		query := r.URL.Query()
		query.Del("name") // all that there are
		r.URL.RawQuery = query.Encode()
		next.ServeHTTP(w, r)
	})
	cf.ResetCalls()
	got, err := a.Ensure(t.Context(), "home")
	if err != nil || got != want {
		t.Fatalf("not the tunnel that there is; error %v", err)
	}
	if calls := cf.Calls(); calls[list] != 2 || calls[create] != 0 {
		t.Errorf("calls: %v", calls)
	}
}

func TestWhatHappensMeanwhileIsSeen(t *testing.T) {
	t.Run("created by another replica", func(t *testing.T) {
		cf := fake.ForTest(t, fake.Options{})
		var theirs any
		cf.Intercept(create, fake.Times(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			cf.Intercept(create, nil)
			c, err := open(cf, fake.Token).Ensure(t.Context(), "home")
			if err != nil {
				t.Error(err)
			}
			theirs = c
			next.ServeHTTP(w, r)
		}))
		ours, err := open(cf, fake.Token).Ensure(t.Context(), "home")
		if err != nil || ours != theirs {
			t.Errorf("not the other's tunnel; error %v", err)
		}
	})
	t.Run("deleted before its token was read", func(t *testing.T) {
		cf := fake.ForTest(t, fake.Options{})
		a := open(cf, fake.Token)
		first, err := a.Ensure(t.Context(), "home")
		if err != nil {
			t.Fatal(err)
		}
		cf.Intercept(getToken, fake.Times(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			remove(t, cf, first.Tunnel.String())
			next.ServeHTTP(w, r)
		}))
		second, err := a.Ensure(t.Context(), "home")
		if err != nil || second.Tunnel == first.Tunnel {
			t.Errorf("the tunnel that is gone, error %v", err)
		}
	})
	t.Run("created, and the answer lost", func(t *testing.T) {
		cf := fake.ForTest(t, fake.Options{})
		a := open(cf, fake.Token)
		cf.Intercept(create, fake.Times(1, fake.LoseAnswer))
		if _, err := a.Ensure(t.Context(), "home"); err == nil || isPermanent(t, err) {
			t.Fatalf("want a passing error, got %v", err)
		}
		if _, err := a.Ensure(t.Context(), "home"); err != nil {
			t.Fatal(err)
		}
		if n := cf.Calls()[create]; n != 1 {
			t.Errorf("%d creations", n)
		}
	})
}

func isPermanent(t *testing.T, err error) bool {
	t.Helper()
	e, ok := errors.AsType[*account.Error](err)
	if !ok {
		t.Fatalf("%v is no Error", err)
	}
	return e.Permanent
}

func TestFailuresSayWhetherWaitingHelps(t *testing.T) {
	const weak = "fake-token-without-tunnels-000000000000"
	for name, test := range map[string]struct {
		token     string
		fault     fake.Interceptor
		permanent bool
		after     time.Duration
		says      string
	}{
		"wrong token":              {token: "fake-token-that-nobody-knows-0000000000", permanent: true, says: "Invalid access token (9109); the API token must be valid"},
		"not even a token":         {token: "short", permanent: true, says: "the API token must be valid"},
		"no permission":            {token: weak, permanent: true, says: "Cloudflare Tunnel, Edit, for the account " + fake.AccountID},
		"too many":                 {fault: fake.Refuse(fake.Failure{Code: 971, Message: "Please wait"}, http.StatusTooManyRequests, 90*time.Second), after: 90 * time.Second, says: "no request for 1m30s"},
		"unavailable":              {fault: fake.Refuse(fake.Failure{Code: 1, Message: "Maintenance"}, http.StatusServiceUnavailable, 30*time.Second), after: 30 * time.Second, says: "Maintenance"},
		"internal":                 {fault: fake.Refuse(fake.Failure{Code: 10001, Message: "Internal server error"}, http.StatusInternalServerError, 0), says: "Internal server error (10001)"},
		"broken":                   {fault: fake.Break, says: "502 Bad Gateway"},
		"a name that is not taken": {fault: fake.Refuse(fake.Failure{Code: 1002, Message: "name is too long"}, http.StatusBadRequest, 0), permanent: true, says: "name is too long (1002)"},
	} {
		t.Run(name, func(t *testing.T) {
			cf := fake.ForTest(t, fake.Options{})
			cf.SetToken(weak, fake.Grant{Write: true})
			if test.token == "" {
				test.token = fake.Token
			}
			cf.Intercept(list, test.fault)
			a := open(cf, test.token)
			_, err := a.Ensure(t.Context(), "home")
			if err == nil {
				t.Fatal("no error")
			}
			e, ok := errors.AsType[*account.Error](err)
			if !ok || e.Permanent != test.permanent || e.RetryAfter != test.after || !strings.Contains(err.Error(), test.says) {
				t.Errorf("permanent %v, after %v: %v", e.Permanent, e.RetryAfter, err)
			}
			if checked := a.Check(t.Context()); checked == nil {
				t.Error("Check sees nothing wrong")
			}
			if strings.Contains(err.Error(), test.token) {
				t.Error("the error tells the token")
			}
		})
	}
}

func TestNobodyIsAskedWhileTheAPIWantsToBeLeftAlone(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{})
	a := open(cf, fake.Token)
	cf.Intercept(list, fake.Times(1, fake.Refuse(fake.Failure{Code: 971, Message: "Please wait"}, http.StatusTooManyRequests, time.Minute)))
	for range 3 {
		_, err := a.Ensure(t.Context(), "home")
		if e, ok := errors.AsType[*account.Error](err); !ok || e.Permanent || e.RetryAfter <= 50*time.Second {
			t.Fatalf("not told to wait: %v", err)
		}
	}
	if n := cf.Calls()[list]; n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestATokenIsReadAnew(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{})
	token := "fake-token-that-nobody-knows-0000000000"
	a := account.New(account.Options{ID: fake.AccountID, Token: func() (string, error) { return token, nil }, URL: cf.URL})
	if _, err := a.Ensure(t.Context(), "home"); err == nil {
		t.Fatal("a wrong token is good")
	}
	token = fake.Token
	if _, err := a.Ensure(t.Context(), "home"); err != nil {
		t.Fatal(err)
	}
	missing := account.New(account.Options{ID: fake.AccountID, Token: func() (string, error) { return "", errors.New("no such Secret") }, URL: cf.URL})
	if _, err := missing.Ensure(t.Context(), "home"); err == nil || isPermanent(t, err) {
		t.Errorf("no token: %v", err)
	}
}
