package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// storage is a CertificateStorage of one replica, and the challenges that it knows.
type storage struct {
	*CertificateStorage
	mu    sync.Mutex // guards known
	known []Challenge
}

func (f *fixture) storage(identity string) *storage {
	f.Helper()
	s := &storage{}
	s.CertificateStorage = must(NewCertificateStorage(CertificateStorageOptions{
		Config: f.plane.Config, Namespace: f.namespace, Prefix: "lintel", Identity: identity,
		Challenges: func(all []Challenge) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.known = all
		},
	}))(f)
	return s
}

func (s *storage) challenged() []Challenge {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

func (f *fixture) secret(name string) *corev1.Secret {
	f.Helper()
	return must(f.clients.kubernetes.CoreV1().Secrets(f.namespace).Get(f.Context(), name, metav1.GetOptions{}))(f)
}

func (f *fixture) named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: f.namespace, Name: name}
}

func TestCertificateInSecret(t *testing.T) {
	f := newFixture(t)
	s := f.storage("a")
	if c, err := s.Load(t.Context(), f.named("web")); c != nil || err != nil {
		t.Fatalf("there is %v, %v", c, err)
	}
	first := &StoredCertificate{CertPEM: []byte("c1"), KeyPEM: []byte("k1"), Annotations: map[string]string{"lintel.dev/issuer": "le"}}
	if err := s.Save(t.Context(), f.named("web"), first); err != nil {
		t.Fatal(err)
	}
	secret := f.secret("web")
	if secret.Type != corev1.SecretTypeTLS || secret.Labels[gateway.LabelManagedBy] != "lintel" || string(secret.Data["tls.crt"]) != "c1" || string(secret.Data["tls.key"]) != "k1" {
		t.Errorf("Secret is %+v", secret)
	}
	secret.Annotations["example.com/theirs"] = "stays"
	must(f.clients.kubernetes.CoreV1().Secrets(f.namespace).Update(t.Context(), secret, metav1.UpdateOptions{}))(f)

	if err := s.Save(t.Context(), f.named("web"), &StoredCertificate{CertPEM: []byte("c2"), KeyPEM: []byte("k2")}); err != nil {
		t.Fatal(err)
	}
	c, err := f.storage("b").Load(t.Context(), f.named("web"))
	if err != nil || !c.Ours || string(c.CertPEM) != "c2" || c.Annotations["lintel.dev/issuer"] != "le" || c.Annotations["example.com/theirs"] != "stays" {
		t.Errorf("there is %+v, %v", c, err)
	}
}

// TestSecretOfSomebodyElse is never written, whatever it holds.
func TestSecretOfSomebodyElse(t *testing.T) {
	f := newFixture(t)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": []byte("b")}}
	before := must(f.clients.kubernetes.CoreV1().Secrets(f.namespace).Create(t.Context(), theirs, metav1.CreateOptions{}))(f)
	s := f.storage("a")
	if err := s.Save(t.Context(), f.named("theirs"), &StoredCertificate{CertPEM: []byte("c")}); !errors.Is(err, ErrForeignSecret) {
		t.Errorf("got %v", err)
	}
	if c, err := s.Load(t.Context(), f.named("theirs")); err != nil || c.Ours {
		t.Errorf("got %+v, %v", c, err)
	}
	if f.secret("theirs").ResourceVersion != before.ResourceVersion {
		t.Error("it was changed")
	}
}

func TestDocuments(t *testing.T) {
	f := newFixture(t)
	s := f.storage("a")
	for _, want := range []string{"one", "two", ""} {
		var document []byte
		if want != "" {
			document = []byte(want)
		}
		if err := s.SaveDocument(t.Context(), "account-1", document); err != nil {
			t.Fatal(err)
		}
		if got, err := f.storage("b").Document(t.Context(), "account-1"); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if err := s.SaveDocument(t.Context(), "account-1", nil); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestLock has two replicas want a lock: one at a time has it, and when a holder dies the
// other one succeeds it.
func TestLock(t *testing.T) {
	f := newFixture(t)
	a, b := f.storage("a"), f.storage("b")
	_, unlock, err := a.Lock(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*lockRetry)
	defer cancel()
	if _, _, err := b.Lock(short, "order-1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("two have it: %v", err)
	}
	_, other, err := b.Lock(t.Context(), "order-2")
	if err != nil {
		t.Fatalf("another lock: %v", err)
	}
	other()
	unlock()
	dying, die := context.WithCancel(t.Context())
	held, _, err := b.Lock(dying, "order-1")
	if err != nil {
		t.Fatal(err)
	}
	die()
	<-held.Done()
	start := time.Now()
	held, unlock, err = a.Lock(t.Context(), "order-1")
	if err != nil || time.Since(start) < lockDuration-lockRenewal {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
	leases := must(f.clients.kubernetes.CoordinationV1().Leases(f.namespace).List(t.Context(), metav1.ListOptions{}))(f)
	if len(leases.Items) != 1 {
		t.Errorf("there are %d Leases", len(leases.Items))
	}
	// Who takes the Lease away ends the lock.
	if err := f.clients.kubernetes.CoordinationV1().Leases(f.namespace).Delete(t.Context(), leases.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Done():
	case <-time.After(testTimeout):
		t.Error("the lock is lost, and its holder does not know")
	}
	unlock()
}

// TestLockOutlivesALostAnswer has the Lease of a lock be of another version, with the same holder: as
// after a renewal whose answer did not come.
func TestLockOutlivesALostAnswer(t *testing.T) {
	f := newFixture(t)
	held, unlock, err := f.storage("a").Lock(t.Context(), "order-1")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	api := f.clients.kubernetes.CoordinationV1().Leases(f.namespace)
	lease := &must(api.List(t.Context(), metav1.ListOptions{}))(f).Items[0]
	lease.Spec.RenewTime = new(metav1.NowMicro())
	renewed := must(api.Update(t.Context(), lease, metav1.UpdateOptions{}))(f).Spec.RenewTime.Time
	f.eventually("the Lease is renewed", func() bool {
		lease, err := api.Get(t.Context(), lease.Name, metav1.GetOptions{})
		return held.Err() != nil || err == nil && lease.Spec.RenewTime.After(renewed)
	})
	if err := held.Err(); err != nil {
		t.Errorf("the lock is lost: %v", err)
	}
}

func TestChallengesReachEveryReplica(t *testing.T) {
	f := newFixture(t)
	a, b := f.storage("a"), f.storage("b")
	f.background(a.Run)
	f.background(b.Run)
	one := Challenge{Type: "http-01", Identifier: "a.test", Token: "t1", KeyAuthorization: "t1.k"}
	two := Challenge{Type: "tls-alpn-01", Identifier: "a.test", Token: "t2", KeyAuthorization: "t2.k"}
	var both sync.WaitGroup // at once, as orders do
	both.Go(func() {
		if err := a.Present(t.Context(), one); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		if err := b.Present(t.Context(), two); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	f.eventually("both know both", func() bool { return len(a.challenged()) == 2 && len(b.challenged()) == 2 })
	if err := b.Withdraw(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	f.eventually("one is left", func() bool { return len(a.challenged()) == 1 && a.challenged()[0] == two })
	if err := a.Withdraw(t.Context(), one); err != nil {
		t.Errorf("withdrawn twice: %v", err)
	}
}

func TestSecretKeyIsReadAnew(t *testing.T) {
	f := newFixture(t)
	token := f.storage("a").SecretKey("cloudflare", "token")
	if _, err := token(); err == nil || !strings.Contains(err.Error(), f.namespace+"/cloudflare") {
		t.Errorf("got %v", err)
	}
	api := f.clients.kubernetes.CoreV1().Secrets(f.namespace)
	secret := must(api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cloudflare"}, StringData: map[string]string{"token": "old"}}, metav1.CreateOptions{}))(f)
	if got, err := token(); err != nil || got != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	secret.StringData = map[string]string{"token": "new"}
	must(api.Update(t.Context(), secret, metav1.UpdateOptions{}))(f)
	if got, err := token(); err != nil || got != "new" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestEvents writes Events that `kubectl describe` finds, equal ones once.
func TestEvents(t *testing.T) {
	f := newFixture(t)
	g := f.createGateway("web")
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	w := must(NewEventWriter(f.plane.Config, store))(f)
	f.background(w.Run)
	ref := refOf("Gateway", g)
	w.Write(Event{Object: ref, Reason: "CertificateOrdering", Message: "being ordered"})
	w.Write(Event{Object: ref, Warning: true, Reason: "CertificateFailed", Message: "the CA says no"})
	w.Write(Event{Object: ref, Warning: true, Reason: "CertificateFailed", Message: "the CA says no"})
	f.eventually("two Events, one of them counted twice", func() bool {
		list := must(f.clients.kubernetes.CoreV1().Events(f.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(g.UID)}))(f)
		if len(list.Items) != 2 {
			return false
		}
		for _, e := range list.Items {
			if e.Reason == "CertificateFailed" && (e.Count != 2 || e.Type != "Warning" || e.Source.Component != "lintel") {
				return false
			}
		}
		return true
	})
}

// TestEventsOfManyObjects: a burst that tells of more objects than can be written at once is
// written to its end, and what is told of one object again and again is not.
func TestEventsOfManyObjects(t *testing.T) {
	f := newFixture(t)
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	config := rest.CopyConfig(f.plane.Config)
	config.QPS, config.Burst = clientQPS, clientBurst
	w := must(NewEventWriter(config, store))(f)
	const objects = 400
	for i := range objects {
		w.Write(Event{Object: gateway.ObjectRef{Kind: "HTTPRoute", Namespace: f.namespace, Name: fmt.Sprint("route-", i)}, Reason: "DNSRecordCreated", Message: "it was created"})
	}
	for i := range 100 {
		w.Write(Event{Object: gateway.ObjectRef{Kind: "HTTPRoute", Namespace: f.namespace, Name: "loud"}, Reason: "DNSRecordCreated", Message: fmt.Sprint("again ", i)})
	}
	f.background(w.Run)
	f.eventually("an Event for each", func() bool {
		list := must(f.clients.kubernetes.CoreV1().Events(f.namespace).List(t.Context(), metav1.ListOptions{}))(f)
		of := make(map[string]int)
		for i := range list.Items {
			of[list.Items[i].InvolvedObject.Name]++
		}
		return len(of) == objects+1 && of["loud"] <= eventBacklog
	})
}
