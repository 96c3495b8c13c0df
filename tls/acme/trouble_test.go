package acme_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/pebble"
	"github.com/lintel-dev/lintel/tls/acme"
)

// trouble is when things fail, each time by chance.
type trouble struct{ atomic.Bool }

func (t *trouble) strikes(percent int) bool { return t.Load() && rand.N(100) < percent }

// inCA fails requests in the ways that CAs, what is before them, and networks do.
func (t *trouble) inCA(w http.ResponseWriter, r *http.Request) bool {
	if !t.strikes(15) {
		return false
	}
	switch rand.N(4) {
	case 0:
		return pebble.Refuse(http.StatusInternalServerError, "serverInternal", 0)(w, r)
	case 1:
		return pebble.Refuse(http.StatusTooManyRequests, "rateLimited", time.Second)(w, r)
	case 2:
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return true
	default:
		panic(http.ErrAbortHandler)
	}
}

func (t *trouble) inCloudflare(w http.ResponseWriter, r *http.Request, next http.Handler) {
	switch {
	case !t.strikes(4): // rarely: a record is tried to be removed four times, and then stays
		next.ServeHTTP(w, r)
	case rand.N(2) == 0:
		cloudflare.Break(w, r, next)
	default:
		cloudflare.LoseAnswer(w, r, next)
	}
}

// troubledStorage fails by chance.
type troubledStorage struct {
	acme.Storage
	trouble *trouble
}

func (s troubledStorage) try() error {
	if s.trouble.strikes(8) {
		return errors.New("the storage is out of order")
	}
	return nil
}

func (s troubledStorage) Load(ctx context.Context, name acme.Name) (*acme.Stored, error) {
	if err := s.try(); err != nil {
		return nil, err
	}
	return s.Storage.Load(ctx, name)
}

func (s troubledStorage) Save(ctx context.Context, name acme.Name, stored *acme.Stored) error {
	if err := s.try(); err != nil {
		return err
	}
	return s.Storage.Save(ctx, name, stored)
}

func (s troubledStorage) Document(ctx context.Context, key string) ([]byte, error) {
	if err := s.try(); err != nil {
		return nil, err
	}
	return s.Storage.Document(ctx, key)
}

func (s troubledStorage) SaveDocument(ctx context.Context, key string, document []byte) error {
	if err := s.try(); err != nil {
		return err
	}
	return s.Storage.SaveDocument(ctx, key, document)
}

// While CA, DNS provider and storage fail by chance, and two replicas come and go, there
// are few orders; and when all is well again, all certificates and no records.
func TestTroubleEverywhere(t *testing.T) {
	t.Parallel()
	const zone, lasts = "testtroubleeverywhere.test", 12 * time.Second
	dns := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{zone}, RequestLimit: -1})
	ca, issuer := ownCA(t, func(o *pebble.Options) { o.DNS, o.BadNonces, o.ReuseAuthorizations = dns.DNS, 20, 30 })
	issuer.Solver = acme.DNS01{Provider: acme.Cloudflare{Token: token, HTTPClient: dns.HTTPClient()}, Resolvers: []string{dns.DNS}}
	now, path := &trouble{}, t.TempDir()
	now.Store(true)
	for _, step := range []pebble.Step{
		pebble.Directory, pebble.NewNonce, pebble.NewAccount, pebble.NewOrder, pebble.GetOrder,
		pebble.Authorization, pebble.Challenge, pebble.Finalize, pebble.Certificate, pebble.RenewalInfo,
	} {
		ca.Intercept(step, now.inCA)
	}
	dns.Intercept("", now.inCloudflare)
	var want []acme.Certificate
	for _, host := range []string{"a", "b", "c", "d"} {
		c := single(host + "." + zone)
		c.Name.Name = host
		c.Names = append(c.Names, "*."+c.Names[0])
		want = append(want, c)
	}
	replica := func() *replica {
		return start(t, options(t, troubledStorage{directory(t, path), now}, issuer), want...)
	}
	for end := time.After(lasts); now.Load(); {
		one, other := replica(), replica()
		select {
		case <-time.After(500*time.Millisecond + rand.N(4*time.Second)):
		case <-end:
			now.Store(false)
		}
		one.end()
		other.end()
	}
	last := replica()
	for _, c := range want {
		last.untilReady(t, c.Name)
	}
	if n := len(ca.Orders()); n > 2*len(want) {
		t.Errorf("%d orders for %d certificates", n, len(want))
	}
	for _, r := range dns.Records(zone) {
		if r.Type == "TXT" {
			t.Errorf("record left: %s", r.Name)
		}
	}
}
