package acme_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/lintel-dev/lintel/conformance/pebble"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// childEnv makes the test binary a replica in a process of its own, which can be killed.
const childEnv = "ACME_TEST_CHILD"

// childTask is what a child does, as JSON in childEnv.
type childTask struct {
	Path      string // of the storage
	Want      *acme.Certificate
	Directory string
	Roots     []byte
	DNS, API  string
}

// toFake sends requests for Cloudflare to the fake.
type toFake struct{ host string }

func (f toFake) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = "http", f.host, ""
	return http.DefaultTransport.RoundTrip(r)
}

// child orders a certificate, or saves others without end if it has none to order.
func child(text string) int {
	var task childTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		panic(err)
	}
	storage, err := acme.NewDirectory(task.Path, func([]acme.Challenge) {})
	if err != nil {
		panic(err)
	}
	if task.Want == nil {
		saveForever(storage)
	}
	api, err := url.Parse(task.API)
	if err != nil {
		panic(err)
	}
	orders, err := acme.New(acme.Options{
		Storage: storage, Log: slog.New(slog.DiscardHandler), Settle: -1,
		Issuers: []acme.Issuer{{
			Name: task.Want.Issuer, Directory: task.Directory, Roots: func() (string, error) { return string(task.Roots), nil }, Email: "main@example.test", Profile: "default",
			Solver: acme.DNS01{
				Provider:  acme.Cloudflare{Token: token, HTTPClient: &http.Client{Transport: toFake{api.Host}}},
				Resolvers: []string{task.DNS},
			},
		}},
	})
	if err != nil {
		panic(err)
	}
	orders.Apply([]acme.Certificate{*task.Want})
	_ = orders.Run(context.Background()) // until it is killed
	return 0
}

// torn is what saveForever saves.
func torn() acme.Name { return acme.Name{Namespace: "a", Name: "torn"} }

func saveForever(storage *acme.Directory) {
	for {
		certPEM, keyPEM, err := edgetls.SelfSigned([]string{"torn.test"}, 1<<40)
		if err != nil {
			panic(err)
		}
		if err := storage.Save(context.Background(), torn(), &acme.Stored{CertPEM: certPEM, KeyPEM: keyPEM}); err != nil {
			panic(err)
		}
	}
}

// spawn starts a child, which kill ends without a chance to tidy up.
func spawn(t *testing.T, task childTask) (kill func()) {
	t.Helper()
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childEnv+"="+string(text))
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
	})
	t.Cleanup(kill)
	return kill
}

// A leader that is killed in the middle of an order leaves it to the next, who
// finishes it: nothing is ordered twice.
func TestKilledInTheMiddleOfAnOrder(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]pebble.Step{
		"authorization": pebble.Authorization, "challenge": pebble.Challenge, "finalize": pebble.Finalize, "download": pebble.Certificate,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, issuer := ownCA(t, nil)
			zone, path := shared.zone(t), t.TempDir()
			want := single(zone)
			kill := make(chan func(), 1)
			killed := make(chan struct{})
			ca.Intercept(step, func(http.ResponseWriter, *http.Request) bool {
				ca.Intercept(step, nil)
				(<-kill)()
				close(killed)
				return true
			})
			kill <- spawn(t, childTask{Path: path, Want: &want, Directory: ca.Directory, Roots: ca.Roots, DNS: shared.dns.DNS, API: shared.dns.URL})
			<-killed
			r := start(t, options(t, directory(t, path), issuer), want)
			r.untilReady(t, want.Name)
			_, stored := load(t, directory(t, path), want.Name)
			if len(stored.CertPEM) == 0 {
				t.Error("no certificate")
			}
			if n := len(ca.Orders()); n != 1 {
				t.Errorf("%d orders", n)
			}
			if left := shared.leftovers(zone); len(left) > 0 {
				t.Errorf("records left: %v", left)
			}
		})
	}
}

// Whenever a process that saves is killed, a certificate and the key that fits it
// are there.
func TestKilledWhileSaving(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	storage := directory(t, path)
	serials := map[string]bool{}
	for range 10 {
		kill := spawn(t, childTask{Path: path})
		before := len(serials)
		for len(serials) < before+3 { // it is at work
			if stored, err := storage.Load(t.Context(), torn()); err != nil {
				t.Fatal(err)
			} else if stored != nil {
				leaf, _ := load(t, storage, torn())
				serials[leaf.SerialNumber.String()] = true
			}
		}
		kill()
		if len(serials) > 0 {
			load(t, storage, torn())
		}
	}
	if names, err := storage.Names(); err != nil || len(names) != 1 {
		t.Errorf("names %v, %v", names, err)
	}
}
