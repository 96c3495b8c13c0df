package acme_test

import (
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/pebble"
	"github.com/lintel-dev/lintel/tls/acme"
)

// The order of a certificate that nobody wants is kept for a while, so that who takes it away
// and puts it back does not order each time, and then it goes.
func TestOrdersOfNobodyGo(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, func(*pebble.Options) {})
	ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusForbidden, "rejectedIdentifier", 0))
	folder := t.TempDir()
	o := options(t, directory(t, folder), issuer)
	var ahead atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	o.Backoff = acme.Backoff{First: 10 * time.Minute, Most: 10 * time.Minute}
	want := single("nobody.test")
	r := start(t, o, want)
	r.untilFailed(t, want.Name, "")
	kept := func() (found bool) {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			found = found || strings.Contains(path, "order-")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	r.Apply(nil)
	r.Apply([]acme.Certificate{want})
	r.untilFailed(t, want.Name, "")
	if n := ca.Calls(pebble.NewOrder); n != 1 || !kept() {
		t.Errorf("%d orders; kept: %v", n, kept())
	}
	r.Apply(nil)
	for deadline := time.Now().Add(10 * time.Second); kept(); time.Sleep(10 * time.Millisecond) {
		ahead.Add(int64(10 * time.Minute))
		r.Apply(nil)
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
}

// A replica that leads once more goes on with what is wanted by then.
func TestRunOnceMore(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	first := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "first"}, Names: []string{"first." + zone}, Issuer: "main"}
	second := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "second"}, Names: []string{"second." + zone}, Issuer: "main"}
	r := start(t, options(t, storage, shared.issuer("main")), first)
	r.untilReady(t, first.Name)
	r.end()
	r.Apply([]acme.Certificate{first, second})

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // it returns ctx's error
	}()
	defer func() { cancel(); <-done }()
	r.untilReady(t, second.Name)
	if n := len(shared.orders(zone)); n != 2 {
		t.Errorf("%d orders for two certificates", n)
	}
}
