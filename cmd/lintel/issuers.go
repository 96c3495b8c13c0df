package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/tls/acme"
)

// credentialReader returns how a credential is read, each time anew.
type credentialReader func(credential) func() (string, error)

// localCredentials reads credentials from the environment and from files. secret reads
// one key of a Secret.
func localCredentials(secret func(name, key string) func() (string, error)) credentialReader {
	return func(c credential) func() (string, error) {
		kind, place, _ := strings.Cut(string(c), ":")
		switch kind {
		case "env":
			return func() (string, error) {
				if value := os.Getenv(place); value != "" {
					return value, nil
				}
				return "", fmt.Errorf("the environment variable %s is not set", place)
			}
		case "file":
			return func() (string, error) {
				text, err := os.ReadFile(place)
				if value := strings.TrimSpace(string(text)); err != nil || value != "" {
					return value, err
				}
				return "", fmt.Errorf("the file %s is empty", place)
			}
		case "secret":
			name, key, _ := strings.Cut(place, "/")
			return secret(name, key)
		default:
			return func() (string, error) { return "", errors.New("no credential is set") }
		}
	}
}

// ordersIssuers converts the issuers of the settings.
func ordersIssuers(s *Settings, read credentialReader, client *http.Client) []acme.Issuer {
	var issuers []acme.Issuer
	for i := range s.ACMEIssuers {
		from := &s.ACMEIssuers[i]
		issuer := acme.Issuer{
			Name: from.Name, Directory: directoryURL(from.Directory), Email: from.Email,
			PreferredChain: from.PreferredChain, Profile: from.Profile, Durations: from.Durations,
		}
		if from.ExternalAccount.ID != "" {
			issuer.ExternalAccount = &acme.ExternalAccount{ID: from.ExternalAccount.ID, Key: read(from.ExternalAccount.Key)}
		}
		if from.CAFile != "" {
			issuer.Roots = read(from.CAFile)
		}
		dns := acme.DNS01{Resolvers: s.ACMEResolvers}
		if from.PropagationTimeout != "" {
			dns.PropagationTimeout, _ = time.ParseDuration(from.PropagationTimeout) // checked with the settings
		}
		switch from.Solver {
		case solverCloudflare:
			dns.Provider = acme.Cloudflare{Token: read(from.Credential), HTTPClient: client}
			issuer.Solver = dns
		case solverRFC2136:
			algorithm, name, found := strings.Cut(from.Key, ":")
			if !found {
				algorithm, name = "", from.Key
			}
			dns.Provider = acme.RFC2136{Server: from.Server, KeyName: name, KeyAlgorithm: algorithm, Key: read(from.Credential)}
			issuer.Solver = dns
		case solverHTTP:
			issuer.Solver = acme.HTTP01{}
		case solverTLSALPN:
			issuer.Solver = acme.TLSALPN01{}
		}
		issuers = append(issuers, issuer)
	}
	return issuers
}
