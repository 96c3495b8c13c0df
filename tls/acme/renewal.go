package acme

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// jitterParts of a lifetime is how much later than at two thirds a certificate is
	// renewed at most, so that those ordered together are not renewed together.
	jitterParts = 20
	// restMost and restParts: a certificate is not renewed before it is restMost old,
	// or a restParts of its lifetime, whatever it or the CA says, so that nothing can
	// make us order in a loop.
	restMost  = 6 * time.Hour
	restParts = 4
)

const (
	// annotationIssued is when we stored a certificate: CAs date them back.
	annotationIssued = "lintel.dev/issued"
	// annotationWanted is what it was ordered for (wantedPrint).
	annotationWanted = "lintel.dev/wanted"
)

// held is a certificate that is stored, as far as it can be read.
type held struct {
	stored *Stored
	leaf   *x509.Certificate
	issued time.Time // zero if unknown
}

// read parses what is stored. An error says why it cannot serve.
func read(stored *Stored) (*held, error) {
	pair, err := tls.X509KeyPair(stored.CertPEM, stored.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	h := &held{stored: stored, leaf: pair.Leaf}
	if issued, err := time.Parse(time.RFC3339, stored.Annotations[annotationIssued]); err == nil {
		h.issued = issued
	}
	return h, nil
}

func (h *held) lifetime() time.Duration { return h.leaf.NotAfter.Sub(h.leaf.NotBefore) }

// differs says in what the certificate is not the wanted one; "" if it is. What
// counts is what was asked for: a CA may leave out the common name, or add names, and
// ordering again would not change that.
func (h *held) differs(want Certificate, i *issuer) string {
	if h.stored.Annotations[annotationWanted] == wantedPrint(want, i) {
		return ""
	}
	if h.adopted() {
		return h.lacks(want)
	}
	names := slices.Clone(h.leaf.DNSNames)
	slices.Sort(names)
	switch {
	case !slices.Equal(slices.Compact(names), want.Names):
		return "other names are wanted"
	case algorithmOf(h.leaf.PublicKey) != want.algorithm():
		return "a key of another algorithm is wanted"
	case h.stored.Annotations[AnnotationDirectory] != i.Directory:
		return "one from another CA is wanted"
	default:
		return "it was ordered with other settings"
	}
}

// adopted tells whether somebody else had the certificate issued, by a CA, and handed it
// over. It goes on until its renewal, so that handing over hundreds orders none at once.
func (h *held) adopted() bool {
	_, ours := h.stored.Annotations[AnnotationDirectory]
	return !ours && !bytes.Equal(h.leaf.RawIssuer, h.leaf.RawSubject)
}

// lacks says what a wanted certificate has and the adopted one has not; "" for nothing.
func (h *held) lacks(want Certificate) string {
	for _, name := range want.Names {
		if !covers(h.leaf, name) {
			return "other names are wanted"
		}
	}
	if want.KeyAlgorithm != "" && algorithmOf(h.leaf.PublicKey) != want.KeyAlgorithm {
		return "a key of another algorithm is wanted"
	}
	return ""
}

// covers reports whether a certificate is for a name, which may be a wildcard.
func covers(leaf *x509.Certificate, name string) bool {
	return leaf.VerifyHostname(strings.Replace(name, "*", "any", 1)) == nil
}

// renews returns when to renew: when the CA suggests (RFC 9773), at what was asked
// for, or at two thirds of the lifetime and a little later.
func (h *held) renews(want Certificate, suggested window) time.Time {
	lifetime := h.lifetime()
	at := h.leaf.NotBefore.Add(lifetime * 2 / 3).Add(h.share(lifetime / jitterParts))
	if before := want.RenewBefore; before > 0 {
		before = min(before, lifetime/2)
		at = h.leaf.NotAfter.Add(-before).Add(-h.share(before / jitterParts))
	}
	if suggested.usable(h.leaf) {
		asked := suggested.start.Add(h.share(suggested.end.Sub(suggested.start)))
		last := h.leaf.NotAfter.Add(-lifetime / 6)
		if want.RenewBefore == 0 || asked.Before(at) {
			at = asked
		}
		if at.After(last) {
			at = last
		}
	}
	if h.issued.IsZero() {
		return at
	}
	if rested := h.issued.Add(min(restMost, lifetime/restParts)); at.Before(rested) {
		return rested
	}
	return at
}

// share returns a part of d that is random among certificates, and the same for
// this one at any time and in any replica.
func (h *held) share(d time.Duration) time.Duration {
	sum := sha256.Sum256(h.leaf.Raw)
	fraction := float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32)
	return time.Duration(float64(d) * fraction)
}

// window is when a CA suggests to renew a certificate (ARI, RFC 9773 §4.2).
type window struct {
	start, end time.Time
	serial     string    // of the certificate that it is for
	again      time.Time // when to ask again
}

// usable tells whether the window means something: it is for this certificate, and
// lies in its lifetime without leaving most of that open, or is over when the
// certificate begins, which is how a CA says "now".
func (w window) usable(leaf *x509.Certificate) bool {
	if w.start.IsZero() || w.serial != leaf.SerialNumber.String() {
		return false
	}
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	return w.end.Before(leaf.NotBefore.Add(lifetime/jitterParts)) ||
		!w.start.Before(leaf.NotBefore) && w.end.Sub(w.start) <= lifetime/2
}

// check returns an error if a chain that the CA returned is not for the order.
func check(chain []byte, key []byte, want Certificate) error {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("the CA returned a certificate that does not fit its key: %w", err)
	}
	for _, name := range want.Names {
		if !covers(pair.Leaf, name) {
			return fmt.Errorf("the CA returned a certificate for %s, which is not for %s", strings.Join(pair.Leaf.DNSNames, ", "), name)
		}
	}
	return nil
}
