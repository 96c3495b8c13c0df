package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/gateway"
)

const (
	// issuerNone keeps objects that name no issuer without one.
	issuerNone = "none"
	// shortIssuer is the name of the issuer that the settings acme-* make.
	shortIssuer = "acme"
	// defaultStorage is where a service's state belongs.
	defaultStorage = "/var/lib/lintel"
)

func certificateSettings(s *Settings) []setting {
	short := &s.ACME
	return []setting{
		{name: "acme-solver", value: parsed(&short.Solver, "", solverName),
			usage: "order certificates by ACME, and prove that names are ours by this `solver`: cloudflare or rfc2136 (records in DNS, the only way to wildcards), http-01 (an answer on port 80) or tls-alpn-01 (a handshake on port 443); it makes the issuer acme; by setting it you agree to the CA's terms; empty is off"},
		{name: "acme-email", value: parsed(&short.Email, "", emailAddress),
			usage: "`address` that the CA may write to"},
		{name: "acme-directory", value: parsed(&short.Directory, defaultDirectory, directory),
			usage: "`URL` of the CA's ACME directory, or letsencrypt, letsencrypt-staging, zerossl or google"},
		{name: "acme-credential", value: parsed(&short.Credential, "", credentialPlace),
			usage: "`place` of the API token of cloudflare, or of the TSIG key (base64) of rfc2136: env:NAME, file:PATH, or secret:NAME/KEY for a Secret in Lintel's namespace; it is read for each order"},
		{name: "acme-dns-server", value: text(&short.Server, ""),
			usage: "`host:port` of the primary server to which rfc2136 sends updates"},
		{name: "acme-dns-key", value: text(&short.Key, ""),
			usage: "`name` of the TSIG key of rfc2136, or algorithm:name; the algorithm is hmac-sha256 otherwise"},
		{name: "acme-ca-file", value: parsed(&short.CAFile, "", rootsPlace),
			usage: "`place` of PEM certificates that vouch for a CA of your own, or for one to test with: the path of a file, or secret:NAME/KEY for a Secret in Lintel's namespace; it is read for each order"},
		{name: "acme-resolvers", value: list(&s.ACMEResolvers, resolver),
			usage: "`servers` (host or host:port) that are asked for zones and their servers; public ones otherwise, since those of a local network may see other records than the CA"},
		{name: "acme-issuers", value: acmeIssuers(&s.ACMEIssuers),
			usage: "`issuers` where one is not enough, as a list in the file: each with name and solver, and if need be directory, email, credential, server, key, preferredChain, profile, caFile, externalAccount (id, key), propagationTimeout and durations"},
		{name: "default-issuer", value: parsed(&s.DefaultIssuer, "", issuerName),
			usage: "`name` of the issuer for Gateways, ListenerSets and Ingresses without the annotation lintel.dev/issuer: one of the issuers, self-signed, or none; empty is acme if there is a solver, and none otherwise"},
		{name: "cert-manager-annotations", value: onOff(&s.CertManagerAnnotations, false),
			usage: "stand in for cert-manager: read cert-manager.io/issuer, cluster-issuer, common-name, duration, renew-before, private-key-algorithm and private-key-size, and kubernetes.io/tls-acme: `on|off`; off leaves objects with these to cert-manager"},
		{name: "self-signed-until-ready", value: onOff(&s.SelfSignedUntilReady, false),
			usage: "serve a certificate that signs itself until the one that is ordered is there: `on|off`; off serves none"},
		{name: "acme-storage", value: text(&s.ACMEStorage, defaultStorage),
			usage: "`directory` for certificates and accounts where objects come from manifests; on Kubernetes they are in Secrets"},
	}
}

// parsed is a T that parse reads.
func parsed[T ~string](place *T, preset T, parse func(string) (T, error)) *value[T] {
	*place = preset
	return &value[T]{place: place, parse: parse, write: func(t T) string { return string(t) }}
}

func issuerName(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return objectName(s)
}

func resolver(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, " /") {
		return "", errors.New("must be a DNS server, such as 1.1.1.1 or dns.example.com:53")
	}
	return s, nil
}

// validateCertificates finds what does not fit together, and completes the rest: from
// then on ACMEIssuers are all issuers, and DefaultIssuer is one, or "" for none.
func (s *Settings) validateCertificates() error {
	if s.ACME.Solver != "" {
		short := s.ACME
		short.Name = shortIssuer
		if err := short.check(); err != nil {
			return fmt.Errorf("acme-solver: the issuer %w", err)
		}
		if slices.ContainsFunc(s.ACMEIssuers, func(i acmeIssuer) bool { return i.Name == shortIssuer }) {
			return fmt.Errorf("acme-solver makes the issuer %s, and acme-issuers has another one: give that another name", shortIssuer)
		}
		s.ACMEIssuers = append([]acmeIssuer{short}, s.ACMEIssuers...)
		if s.DefaultIssuer == "" {
			s.DefaultIssuer = shortIssuer
		}
	} else if a := s.ACME; a.Email != "" || a.Credential != "" || a.Server != "" || a.Key != "" || a.CAFile != "" {
		return errors.New("acme-solver is not set, and so no certificates are ordered, though other settings of acme are: " +
			"set it, or remove them; the issuers of acme-issuers have their own")
	}
	names := []string{gateway.IssuerSelfSigned}
	for i := range s.ACMEIssuers {
		issuer := &s.ACMEIssuers[i]
		names = append(names, issuer.Name)
		if s.Manifests == "" {
			continue
		}
		for _, c := range []credential{issuer.Credential, issuer.ExternalAccount.Key, issuer.CAFile} {
			if strings.HasPrefix(string(c), "secret:") {
				return fmt.Errorf("issuer %s: %s is a Secret of Kubernetes, and objects come from manifests: use env:NAME or file:PATH", issuer.Name, c)
			}
		}
	}
	switch {
	case s.DefaultIssuer == issuerNone:
		s.DefaultIssuer = ""
	case s.DefaultIssuer != "" && !slices.Contains(names, s.DefaultIssuer):
		return fmt.Errorf("default-issuer is %q, which is not one of %s", s.DefaultIssuer, strings.Join(names, ", "))
	}
	return nil
}
