package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/observe"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

const (
	// selfSignedValidity is that of certificates that sign themselves. They are made anew
	// with each start.
	selfSignedValidity = 90 * 24 * time.Hour
	// storageTimeout bounds reading one certificate from a directory.
	storageTimeout = 5 * time.Second
)

// certificateCare gets the certificates that Plans want, and tells the loop what became of
// them. But for what is said of a field, it belongs to the loop's goroutine.
type certificateCare struct {
	board *challengeBoard
	log   *slog.Logger
	// orders gets certificates from CAs; nil without an issuer.
	orders *acme.Orders
	// directory is where they are kept without Kubernetes; nil otherwise, when the source
	// sees their Secrets.
	directory *acme.Directory
	// standIns serves certificates that sign themselves for those that are not there yet.
	standIns bool
	metrics  *observe.Metrics
	event    func(kube.Event) // must not block

	now     func() time.Time // the clock of orders; nil is the usual one
	backoff acme.Backoff     // after failures; zero is the usual one

	leads   atomic.Bool                           // set while Run runs
	changes chan struct{}                         // holds a token while the loop has something to see
	report  atomic.Pointer[[]certificateOfReport] // read by other goroutines

	want   []gateway.WantedCertificate // by the last Plan
	served []gateway.Certificate       // likewise
	states map[acme.Name]acme.State    // as that Plan had them
	shown  map[acme.Name]acme.State    // in the report
	made   map[types.NamespacedName]*corev1.Secret
	seen   map[types.NamespacedName]*corev1.Secret // those wanted, in the last Snapshot
	told   map[types.NamespacedName]acme.State     // the last of which there was an Event
	wrong  map[gateway.Problem]bool                // likewise
	read   map[types.NamespacedName]time.Time      // ends of those from the directory
	faults map[types.NamespacedName]string         // why others could not be read from there
	http   int                                     // the version of the challenges that the last Plan answers
}

func newCertificateCare(store *edgetls.Store, metrics *observe.Metrics, log *slog.Logger) *certificateCare {
	c := &certificateCare{
		metrics: metrics, log: log, event: func(kube.Event) {}, changes: make(chan struct{}, 1),
		told: make(map[types.NamespacedName]acme.State), made: make(map[types.NamespacedName]*corev1.Secret), read: make(map[types.NamespacedName]time.Time),
		faults: make(map[types.NamespacedName]string),
	}
	c.board = newChallengeBoard(store, c.wake, log)
	return c
}

// wake lets the loop build again. It may be called from any goroutine.
func (c *certificateCare) wake() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// start makes the orders. client speaks to DNS providers; nil is the usual one.
func (c *certificateCare) start(s *Settings, storage acme.Storage, read credentialReader, client *http.Client) error {
	var err error
	c.orders, err = acme.New(acme.Options{
		Issuers: ordersIssuers(s, read, client), Storage: storage, Log: c.log, UserAgent: "lintel/" + thisVersion().Version, Changed: c.wake,
		Now: c.now, Backoff: c.backoff,
		Metrics: acme.Metrics{Ordered: c.metrics.Ordered, Obtained: c.metrics.Obtained, Failed: c.metrics.OrderFailed},
	})
	return err
}

// Run orders and renews until ctx ends; one replica at a time does.
func (c *certificateCare) Run(ctx context.Context) error {
	c.leads.Store(true)
	defer c.leads.Store(false)
	if err := c.orders.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("order certificates: %w", err)
	}
	return nil
}

// observe adds to a Snapshot what is known of the certificates, and those that no source
// has.
func (c *certificateCare) observe(s *gateway.Snapshot) {
	s.Observed.Challenges, c.http = c.board.http()
	if c.orders != nil {
		c.states = c.orders.States()
		s.Observed.Certificates = make(map[types.NamespacedName]gateway.CertificateState, len(c.states))
		for name, state := range c.states {
			s.Observed.Certificates[types.NamespacedName(name)] = gateway.CertificateState{Stage: string(state.Stage), Message: state.Message, Retry: state.Retry}
		}
	}
	wanted := make(map[types.NamespacedName]bool, len(c.want))
	for _, w := range c.want {
		wanted[w.Secret] = true
	}
	seen := make(map[types.NamespacedName]*corev1.Secret)
	for _, secret := range s.Secrets {
		name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
		if wanted[name] {
			seen[name] = secret
		}
	}
	for name := range wanted {
		was := c.seen[name]
		if was == nil || was == seen[name] {
			continue
		}
		if c.orders != nil {
			c.orders.Recheck(acme.Name(name)) // somebody changed or deleted it
		}
		if seen[name] == nil {
			c.made[name] = placeholder(was, "the certificate that was there")
		}
	}
	c.seen = seen
	c.complete(wanted, seen)
	if len(c.made) > 0 {
		s.Secrets = slices.Clone(s.Secrets)
	}
	for name, secret := range c.made {
		if seen[name] == nil {
			s.Secrets = append(s.Secrets, secret)
		}
	}
}

// complete makes the Secrets that the source lacks.
func (c *certificateCare) complete(wanted map[types.NamespacedName]bool, there map[types.NamespacedName]*corev1.Secret) {
	maps.DeleteFunc(c.made, func(name types.NamespacedName, _ *corev1.Secret) bool { return !wanted[name] })
	maps.DeleteFunc(c.read, func(name types.NamespacedName, _ time.Time) bool { return !wanted[name] })
	maps.DeleteFunc(c.faults, func(name types.NamespacedName, _ string) bool { return !wanted[name] })
	for i := range c.want {
		w := &c.want[i]
		if there[w.Secret] != nil || c.readFromDirectory(w) || c.made[w.Secret] != nil {
			continue
		}
		if w.Issuer == gateway.IssuerSelfSigned || c.standIns {
			if secret, err := selfSignedSecret(w); err == nil {
				c.made[w.Secret] = secret
			} else {
				c.log.Error("no certificate made", "secret", w.Secret.String(), "err", err)
			}
		}
	}
}

// readFromDirectory takes over a certificate that is kept in the directory, and reports
// whether there is one.
func (c *certificateCare) readFromDirectory(w *gateway.WantedCertificate) bool {
	if c.directory == nil || w.Issuer == gateway.IssuerSelfSigned {
		return false
	}
	end, known := c.read[w.Secret]
	if state := c.states[acme.Name(w.Secret)]; known && end.Equal(state.NotAfter) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	stored, err := c.directory.Load(ctx, acme.Name(w.Secret))
	if err == nil && stored != nil {
		_, err = tls.X509KeyPair(stored.CertPEM, stored.KeyPEM) // somebody may be about to write them
	}
	c.noteRead(w.Secret, err)
	if stored == nil || err != nil && c.made[w.Secret] != nil {
		return known
	}
	secret := newSecret(w.Secret, stored.CertPEM, stored.KeyPEM)
	secret.Annotations = stored.Annotations
	if was := c.made[w.Secret]; was == nil || !reflect.DeepEqual(was.Data, secret.Data) {
		c.made[w.Secret] = secret
	}
	if err == nil {
		c.read[w.Secret] = c.states[acme.Name(w.Secret)].NotAfter
	}
	return true
}

// noteRead notes whether a certificate could be read from the directory, and logs why not, once.
func (c *certificateCare) noteRead(name types.NamespacedName, err error) {
	if err == nil {
		delete(c.faults, name)
		return
	}
	if c.faults[name] != err.Error() {
		c.faults[name] = err.Error()
		c.log.Warn("certificate not read; trying again", "certificate", name.String(), "err", err)
	}
}

// unread reports whether a certificate could not be read that may be readable soon: of the end of
// too many open files, say, nobody tells.
func (c *certificateCare) unread() bool { return len(c.faults) > 0 }

// newSecret makes a Secret that no API server has.
func newSecret(name types.NamespacedName, certPEM, keyPEM []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{gateway.LabelManagedBy: gateway.ManagedByLintel}},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certPEM, corev1.TLSPrivateKeyKey: keyPEM},
	}
}

// selfSignedSecret makes a certificate that signs itself, or that stands in for a better one.
func selfSignedSecret(w *gateway.WantedCertificate) (*corev1.Secret, error) {
	names := w.Names
	if len(names) == 0 {
		names = []string{"localhost"}
	}
	certPEM, keyPEM, err := edgetls.SelfSigned(names, selfSignedValidity)
	if err != nil {
		return nil, err
	}
	secret := newSecret(w.Secret, certPEM, keyPEM)
	if w.Issuer != gateway.IssuerSelfSigned {
		secret = placeholder(secret, "a certificate that signs itself")
	}
	return secret, nil
}

// placeholder is a Secret with the same certificate that stands in for a better one. what
// says in words what it holds.
func placeholder(secret *corev1.Secret, what string) *corev1.Secret {
	secret = secret.DeepCopy()
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, gateway.AnnotationPlaceholder, what)
	return secret
}

// apply takes over what a Plan that is being served wants.
func (c *certificateCare) apply(plan *gateway.Plan) {
	c.board.applied(c.http)
	c.tell(plan.Certificates)
	c.tellMistakes(plan.Problems)
	changed := !reflect.DeepEqual(plan.Certificates, c.want)
	if changed {
		c.forgetOthers(plan.Certificates)
		c.want = plan.Certificates
		if c.orders != nil {
			c.orders.Apply(acmeCertificates(c.want))
		}
		c.wake() // there may be something to serve for them
	}
	served := servedBy(plan)
	if changed || c.report.Load() == nil || !slices.Equal(served, c.served) || !maps.Equal(c.states, c.shown) {
		c.served, c.shown = served, c.states
		c.publish()
	}
}

// forgetOthers lets Secrets be made anew of which other names are wanted from now on.
func (c *certificateCare) forgetOthers(want []gateway.WantedCertificate) {
	names := make(map[types.NamespacedName][]string, len(want))
	for i := range want {
		names[want[i].Secret] = want[i].Names
	}
	for _, was := range c.want {
		if !slices.Equal(was.Names, names[was.Secret]) {
			delete(c.made, was.Secret)
			delete(c.read, was.Secret)
		}
	}
}

func acmeCertificates(all []gateway.WantedCertificate) []acme.Certificate {
	var want []acme.Certificate
	for _, w := range all {
		if w.Issuer != gateway.IssuerSelfSigned {
			want = append(want, acme.Certificate{
				Name: acme.Name(w.Secret), Names: w.Names, Issuer: w.Issuer,
				CommonName: w.CommonName, KeyAlgorithm: w.KeyAlgorithm, Duration: w.Duration, RenewBefore: w.RenewBefore,
			})
		}
	}
	return want
}
