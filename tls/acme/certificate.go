package acme

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Name is where a certificate is kept: the name of a Secret, or of a directory.
type Name struct{ Namespace, Name string }

// String returns namespace/name.
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Certificate is one that is wanted. It is read-only once given to [Orders.Apply].
type Certificate struct {
	Name Name
	// Names are DNS names in lower case, "*.example.com" included, without
	// duplicates; at least one. Their order does not matter.
	Names []string
	// Issuer is the Name of one of [Options].Issuers.
	Issuer string
	// CommonName is the subject's; "" leaves it to the CA. It must be one of Names.
	CommonName string
	// KeyAlgorithm is "ECDSA-256" (or ""), "ECDSA-384", "RSA-2048", "RSA-4096" or
	// "Ed25519". A certificate with a key of another kind is ordered anew.
	KeyAlgorithm string
	// Duration is the lifetime to ask for; 0 leaves it to the CA. It is asked for
	// only if the Issuer takes Durations.
	Duration time.Duration
	// RenewBefore is how long before its end a certificate is renewed; 0 means a
	// third of its lifetime. Half of its lifetime is used for what is longer.
	RenewBefore time.Duration
}

// Stage says how far a certificate is.
type Stage string

// Stages of a certificate.
const (
	// Pending: nothing is known of it yet, or another replica orders it.
	Pending Stage = "Pending"
	// Ordering: an order is under way.
	Ordering Stage = "Ordering"
	// WaitingForDNS: the order waits until DNS servers answer with its record.
	WaitingForDNS Stage = "WaitingForDNS"
	// Failed: the last order failed; the next begins at State.Retry.
	Failed Stage = "Failed"
	// Foreign: there is one that somebody else made. It is left alone.
	Foreign Stage = "Foreign"
	// Ready: it is there, and valid until State.NotAfter.
	Ready Stage = "Ready"
)

// State is how one certificate stands. While it is renewed, Stage is that of the
// renewal, and NotAfter that of the certificate which goes on serving.
type State struct {
	Stage Stage
	// Message is for people: what is waited for, or the words in which the CA, the
	// DNS provider or the storage refused. It is "" when Ready.
	Message string
	// NotAfter is when the stored certificate ends; zero while there is none.
	NotAfter time.Time
	// Renews is when the stored certificate is to be renewed; zero while there is none.
	Renews time.Time
	// Retry is when the next order begins; zero unless Failed, and when there will be
	// none until something else is wanted.
	Retry time.Time
	// Issuer is the wanted one.
	Issuer string
}

// mistake says what no CA need be asked to see that a certificate cannot be had from
// an issuer, nil if there is none of this name; "" if there is no mistake.
func (c Certificate) mistake(i *issuer) string {
	switch {
	case i == nil:
		return fmt.Sprintf("there is no issuer %q: define it, or name another", c.Issuer)
	case len(c.Names) == 0:
		return "it has no names"
	case c.CommonName != "" && !slices.Contains(c.Names, c.CommonName):
		return fmt.Sprintf("the common name %s is none of its names, which are %s", c.CommonName, strings.Join(c.Names, ", "))
	case !slices.Contains(algorithms(), c.algorithm()):
		return fmt.Sprintf("key algorithm %q is unknown: use %s", c.KeyAlgorithm, strings.Join(algorithms(), ", "))
	}
	wildcard := slices.IndexFunc(c.Names, func(name string) bool { return strings.HasPrefix(name, "*.") })
	if kind := i.Solver.challengeType(); wildcard >= 0 && kind != ChallengeDNS01 {
		return fmt.Sprintf("a CA gives %s only by dns-01, but issuer %q proves names by %s", c.Names[wildcard], i.Name, kind)
	}
	return ""
}

// normal returns the certificate with its names sorted, each once.
func (c Certificate) normal() Certificate {
	c.Names = slices.Clone(c.Names)
	slices.Sort(c.Names)
	c.Names = slices.Compact(c.Names)
	return c
}

// algorithm is that of the wanted key, by name.
func (c Certificate) algorithm() string {
	if c.KeyAlgorithm == "" {
		return defaultAlgorithm
	}
	return c.KeyAlgorithm
}
