package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/internal/latest"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/tunnel"
	"github.com/lintel-dev/lintel/tunnel/account"
)

const (
	// creationTimeout bounds looking for a tunnel, creating it, and keeping its token.
	creationTimeout = time.Minute
	// A tunnel that can't be had is tried again after a time that grows between these, unless
	// the API asks for more.
	firstCreationRetry = 5 * time.Second
	lastCreationRetry  = 5 * time.Minute
)

// tunnelCreator finds or creates tunnels at Cloudflare. Its methods may be called from any
// goroutine; what it says of the tunnels is read by made.
type tunnelCreator struct {
	client  *http.Client
	save    func(ctx context.Context, secret types.NamespacedName, data map[string]string) error
	changed func() // must not block
	log     *slog.Logger
	first   time.Duration // the pause after a failure; it grows to lastCreationRetry
	want    *latest.Box[map[types.NamespacedName]creationWant]

	mu   sync.Mutex // guards what follows
	had  map[types.NamespacedName]creation
	next map[types.NamespacedName]time.Duration // the pause after the next failure
}

// creationWant is a tunnel that is to be had.
type creationWant struct {
	gateway.TunnelCreation
	token   string // that is kept already; "" for none
	refused bool   // the edge does not take it
}

// creation is what became of one.
type creation struct {
	want    creationWant // that it was made for
	token   string       // "" while there is none
	failure string
	retry   time.Time
	kept    bool // in its Secret, as objects show it
}

func newTunnelCreator(log *slog.Logger, changed func()) *tunnelCreator {
	return &tunnelCreator{
		log: log, changed: changed, first: firstCreationRetry, save: func(context.Context, types.NamespacedName, map[string]string) error { return nil },
		want: latest.New[map[types.NamespacedName]creationWant](),
		had:  make(map[types.NamespacedName]creation), next: make(map[types.NamespacedName]time.Duration),
	}
}

// made returns the token of a tunnel in place of one that is kept, and why there is none.
func (c *tunnelCreator) made(t *gateway.Tunnel) (token, failure string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, kept := c.had[t.Name], t.Token
	if h.want.AccountID != t.Create.AccountID || h.want.Name != t.Create.Name {
		return kept, ""
	}
	if h.token != "" && (kept == "" || kept == h.want.token) {
		kept = h.token
	}
	return kept, h.failure
}

// Run has tunnels until ctx ends; one replica at a time does.
func (c *tunnelCreator) Run(ctx context.Context) error {
	var want map[types.NamespacedName]creationWant
	defer func() { c.want.Return(want) }() // this replica may lead again
	for {
		timer := time.NewTimer(c.pass(ctx, want))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.want.Full():
			want = c.want.Take()
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass tries what is due, and returns when it is worth to look again.
func (c *tunnelCreator) pass(ctx context.Context, want map[types.NamespacedName]creationWant) time.Duration {
	wait := lastCreationRetry
	for name, w := range want {
		c.mu.Lock()
		had, known := c.had[name]
		if known && w.token != "" && w.token == had.token && !had.kept {
			had.kept = true
			c.had[name] = had
		}
		c.mu.Unlock()
		same := known && had.want.AccountID == w.AccountID && had.want.Name == w.Name
		switch {
		case w.APIToken == "" || w.token != "" && !w.refused:
			continue
		case same && had.failure == "" && had.token != w.token && !w.refused && !had.kept:
			continue // it is about to be connected
		case same && had.want.TunnelCreation == w.TunnelCreation && time.Until(had.retry) > 0:
			wait = min(wait, time.Until(had.retry))
			continue
		}
		wait = min(wait, c.ensure(ctx, name, w))
	}
	return wait
}

// ensure has one tunnel, and returns when to look again.
func (c *tunnelCreator) ensure(ctx context.Context, name types.NamespacedName, w creationWant) time.Duration {
	stopping := ctx
	ctx, cancel := context.WithTimeout(ctx, creationTimeout)
	defer cancel()
	found := account.New(account.Options{Token: func() (string, error) { return w.APIToken, nil }, ID: w.AccountID, Client: c.client})
	credentials, err := found.Ensure(ctx, w.Name)
	if stopping.Err() != nil && err != nil {
		return c.first
	}
	c.mu.Lock()
	had := creation{want: w}
	pause := min(max(2*c.next[name], c.first), lastCreationRetry)
	c.mu.Unlock()
	if err == nil {
		if had.token = credentials.Token(); had.token != w.token {
			c.log.Info("tunnel found or created", "tunnel", name.String(), "name", w.Name, "id", credentials.Tunnel.String())
			err = c.save(ctx, w.Secret, map[string]string{gateway.TunnelTokenKey: had.token, gateway.TunnelNameKey: w.Identity()})
		}
	}
	if err == nil && w.refused && had.token == w.token {
		pause = lastCreationRetry // it is there, and refused all the same: it may be seconds old
	}
	had.retry = time.Now().Add(pause)
	if err != nil {
		if refused, ok := errors.AsType[*account.Error](err); ok {
			had.retry = time.Now().Add(max(pause, refused.RetryAfter))
		}
		had.failure = err.Error() + "; next try at " + had.retry.UTC().Format(time.RFC3339)
		c.log.Warn("tunnel not created", "tunnel", name.String(), "error", err, "retry", time.Until(had.retry).Round(time.Second).String())
	}
	c.mu.Lock()
	c.had[name] = had
	c.next[name] = 0
	if err != nil {
		c.next[name] = pause
	}
	c.mu.Unlock()
	c.changed()
	return time.Until(had.retry)
}

// wantCreations are the tunnels of Plans that are to be had. What the edge refuses is looked
// for again: somebody may have deleted it.
func wantCreations(plans []gateway.Tunnel, states map[types.NamespacedName]gateway.TunnelState) map[types.NamespacedName]creationWant {
	want := make(map[types.NamespacedName]creationWant)
	for i := range plans {
		t := &plans[i]
		if t.Create == nil || t.Missing {
			continue
		}
		s := states[t.Name]
		want[t.Name] = creationWant{TunnelCreation: *t.Create, token: t.Token, refused: s.Refused && len(s.Connections) == 0}
	}
	return want
}

// credentialsOf are those of a Tunnel, or of what was created for it.
func (c *tunnelCare) credentialsOf(t *gateway.Tunnel) (credentials tunnel.Credentials, notCreated string, err error) {
	if t.Create == nil {
		credentials, err = readCredentials(t)
		return credentials, "", err
	}
	own := *t
	own.Token, notCreated = c.creator.made(t)
	credentials, err = readCredentials(&own)
	return credentials, notCreated, err
}

// writers are the parts that only one replica runs.
func (c *tunnelCare) writers() []func(context.Context) error {
	return []func(context.Context) error{c.creator.Run, c.records.Run}
}

// useClient says what speaks to Cloudflare's API; nil is the usual one.
func (c *tunnelCare) useClient(client *http.Client) {
	c.client, c.creator.client, c.records.client = client, client, client
}

// keepTunnelTokens lets tokens of tunnels be kept in Secrets.
func (p *process) keepTunnelTokens(config *kuberest.Config) error {
	storage, err := kube.NewCertificateStorage(kube.CertificateStorageOptions{
		Config: config, Namespace: p.ownNamespace(), Prefix: p.settings.LeaseName, Identity: replicaName(), Log: p.log,
	})
	if err != nil {
		return err
	}
	p.loop.tunnels.creator.save = storage.SaveData
	p.loop.tunnels.records.read = localCredentials(storage.SecretKey)
	return nil
}
