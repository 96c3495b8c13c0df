package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// reading is a loop whose source never changes, and a certificate that it reads from a directory.
type reading struct {
	*testing.T
	loop   *loop
	folder string // of the certificate
	name   types.NamespacedName
}

func newReading(t *testing.T) *reading {
	t.Helper()
	path := t.TempDir()
	r := &reading{T: t, folder: filepath.Join(path, "default", "web"), name: types.NamespacedName{Namespace: "default", Name: "web"}}
	directory, err := acme.NewDirectory(path, func([]acme.Challenge) {})
	r.must(err)
	r.must(os.MkdirAll(r.folder, 0o700))
	care := newCertificateCare(&edgetls.Store{}, observe.NewMetrics(observe.Build{}), slog.New(slog.DiscardHandler))
	care.directory = directory
	care.want = []gateway.WantedCertificate{{Secret: r.name, Issuer: "ca", Names: []string{"web.test"}}}
	r.loop = &loop{care: care, source: &objects{changed: make(chan struct{}, 1)}}
	return r
}

func (r *reading) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *reading) write(file string, text []byte) {
	r.Helper()
	r.must(os.WriteFile(filepath.Join(r.folder, file), text, 0o600))
}

// serves reports whether a build has the certificate.
func (r *reading) serves(certificate, key []byte) bool {
	var s gateway.Snapshot
	r.loop.care.observe(&s)
	return len(s.Secrets) == 1 && bytes.Equal(s.Secrets[0].Data[corev1.TLSCertKey], certificate) && bytes.Equal(s.Secrets[0].Data[corev1.TLSPrivateKeyKey], key)
}

// triesAgain expects the loop to build though nothing has changed.
func (r *reading) triesAgain() {
	r.Helper()
	change, err := r.loop.wait(r.Context())
	r.must(err)
	if !change.Objects {
		r.Errorf("the change is %+v", change)
	}
}

// A certificate that cannot be read, or not be used as somebody is about to write it, is read again
// until it can.
func TestCertificateIsReadOnceItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		certificate, key, err := edgetls.SelfSigned([]string{"web.test"}, time.Hour)
		r.must(err)
		r.write("tls.crt", certificate[:len(certificate)/2])
		if r.serves(certificate, key) {
			t.Error("it is read without a key")
		}
		r.triesAgain()
		r.write("tls.key", key)
		if r.serves(certificate, key) {
			t.Error("it is read without its end")
		}
		r.triesAgain()
		r.write("tls.crt", certificate)
		if !r.serves(certificate, key) || r.loop.care.unread() {
			t.Error("it is not read when it is all there")
		}
	})
}

// One that was renewed is served as it was until it can be read.
func TestRenewedCertificateIsReadOnceItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		certificate, key, err := edgetls.SelfSigned([]string{"web.test"}, time.Hour)
		r.must(err)
		r.write("tls.crt", certificate)
		r.write("tls.key", key)
		if !r.serves(certificate, key) {
			t.Fatal("it is not read")
		}
		renewed, renewedKey, err := edgetls.SelfSigned([]string{"web.test"}, 2*time.Hour)
		r.must(err)
		r.loop.care.states = map[acme.Name]acme.State{acme.Name(r.name): {Stage: acme.Ready, NotAfter: time.Now().Add(2 * time.Hour)}}
		r.write("tls.crt", renewed)
		r.must(os.Remove(filepath.Join(r.folder, "tls.key")))
		if !r.serves(certificate, key) {
			t.Error("it is not served any more")
		}
		r.triesAgain()
		r.write("tls.key", renewedKey)
		if !r.serves(renewed, renewedKey) || r.loop.care.unread() {
			t.Error("the renewed one is not read")
		}
	})
}
