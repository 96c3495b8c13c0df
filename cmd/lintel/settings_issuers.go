package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/internal/nearest"
)

// acmeIssuer is a CA and how it is shown that names are ours, as a person writes it.
type acmeIssuer struct {
	Name               string          `yaml:"name"`
	Directory          string          `yaml:"directory,omitempty"`
	Email              string          `yaml:"email,omitempty"`
	Solver             string          `yaml:"solver"`
	Credential         credential      `yaml:"credential,omitempty"`
	Server             string          `yaml:"server,omitempty"` // of rfc2136
	Key                string          `yaml:"key,omitempty"`    // likewise: NAME or ALGORITHM:NAME
	PreferredChain     string          `yaml:"preferredChain,omitempty"`
	Profile            string          `yaml:"profile,omitempty"`
	CAFile             credential      `yaml:"caFile,omitempty"`
	ExternalAccount    externalAccount `yaml:"externalAccount,omitempty"`
	PropagationTimeout string          `yaml:"propagationTimeout,omitempty"`
	Durations          bool            `yaml:"durations,omitempty"`
}

// externalAccount is one that exists at the CA already.
type externalAccount struct {
	ID  string     `yaml:"id"`
	Key credential `yaml:"key"`
}

// Solvers, as people write them.
const (
	solverCloudflare = "cloudflare"
	solverRFC2136    = "rfc2136"
	solverHTTP       = "http-01"
	solverTLSALPN    = "tls-alpn-01"
)

func solvers() []string { return []string{solverCloudflare, solverRFC2136, solverHTTP, solverTLSALPN} }

// challengeOf is the challenge that a solver solves.
func challengeOf(solver string) string {
	if solver == solverCloudflare || solver == solverRFC2136 {
		return "dns-01"
	}
	return solver
}

func solverName(s string) (string, error) {
	if s == "" || slices.Contains(solvers(), s) {
		return s, nil
	}
	if near := nearest.Of(s, solvers()); near != "" {
		return "", fmt.Errorf("is no solver; did you mean %s?", near)
	}
	return "", errors.New("is no solver; there are " + strings.Join(solvers(), ", "))
}

// directories are CAs whose URL nobody needs to know.
func directories() map[string]string {
	return map[string]string{
		"letsencrypt":         "https://acme-v02.api.letsencrypt.org/directory",
		"letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
		"zerossl":             "https://acme.zerossl.com/v2/DV90",
		"google":              "https://dv.acme-v02.api.pki.goog/directory",
	}
}

const defaultDirectory = "letsencrypt"

// directoryURL is where a CA's directory is.
func directoryURL(directory string) string {
	if known, ok := directories()[directory]; ok {
		return known
	}
	return directory
}

func directory(s string) (string, error) {
	if _, known := directories()[s]; known {
		return s, nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" {
		return "", errors.New("must be letsencrypt, letsencrypt-staging, zerossl, google, or the URL of an ACME directory, which begins with https://")
	}
	return s, nil
}

func emailAddress(s string) (string, error) {
	if a, err := mail.ParseAddress(s); s != "" && (err != nil || a.Address != s) {
		return "", errors.New("must be an e-mail address, such as you@example.com")
	}
	return s, nil
}

// credential says where a token or a key stands: env:NAME, file:PATH or secret:NAME/KEY.
type credential string

func credentialPlace(s string) (credential, error) {
	kind, place, _ := strings.Cut(s, ":")
	secret := regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+$`)
	switch {
	case s == "",
		(kind == "env" || kind == "file") && place != "",
		kind == "secret" && secret.MatchString(place):
		return credential(s), nil
	}
	return "", errors.New("must say where it stands, and not the thing itself: env:NAME, file:PATH or secret:NAME/KEY")
}

// rootsPlace says where certificates stand: as a credential does, or a file's path alone.
func rootsPlace(s string) (credential, error) {
	if place, err := credentialPlace(s); err == nil {
		return place, nil
	}
	if !strings.Contains(s, "\n") && (filepath.IsAbs(s) || !strings.Contains(s, ":")) {
		return credential("file:" + s), nil
	}
	return "", errors.New("must say where certificates stand, and not what they are: the path of a file, or secret:NAME/KEY")
}

// check finds what is wrong with an issuer.
func (i *acmeIssuer) check() error {
	if len(validation.IsDNS1123Subdomain(i.Name)) > 0 || i.Name == gateway.IssuerSelfSigned || i.Name == issuerNone {
		return fmt.Errorf("has the name %q; it must be like that of an object, such as letsencrypt, and neither %s nor %s", i.Name, gateway.IssuerSelfSigned, issuerNone)
	}
	wrong := func(key, text string, err error) error {
		return fmt.Errorf("(%s) has the %s %q, which %w", i.Name, key, text, err)
	}
	if i.Solver == "" {
		return fmt.Errorf("(%s) has no solver; there are %s", i.Name, strings.Join(solvers(), ", "))
	}
	if _, err := solverName(i.Solver); err != nil {
		return wrong("solver", i.Solver, err)
	}
	if _, err := directory(i.Directory); err != nil {
		return wrong("directory", i.Directory, err)
	}
	if _, err := emailAddress(i.Email); err != nil {
		return wrong("email", i.Email, err)
	}
	for key, c := range map[string]credential{"credential": i.Credential, "externalAccount.key": i.ExternalAccount.Key} {
		if _, err := credentialPlace(string(c)); err != nil {
			return wrong(key, "…", err) // it may be the thing itself
		}
	}
	if _, err := rootsPlace(string(i.CAFile)); err != nil {
		return wrong("caFile", "…", err)
	}
	if (i.ExternalAccount.ID == "") != (i.ExternalAccount.Key == "") {
		return fmt.Errorf("(%s) has half of an externalAccount; it needs id and key", i.Name)
	}
	if d, err := time.ParseDuration(i.PropagationTimeout); i.PropagationTimeout != "" && (err != nil || d <= 0) {
		return wrong("propagationTimeout", i.PropagationTimeout, errors.New("must be a time with its unit, such as 2m"))
	}
	return i.checkSolver()
}

// checkSolver finds what a solver lacks.
func (i *acmeIssuer) checkSolver() error {
	switch {
	case i.Solver == solverCloudflare && i.Credential == "":
		return fmt.Errorf("(%s) has no credential: cloudflare needs the place of an API token, such as secret:cloudflare/token", i.Name)
	case i.Solver == solverRFC2136 && (i.Server == "" || i.Key == "" || i.Credential == ""):
		return fmt.Errorf("(%s) lacks server, key or credential: rfc2136 needs the address of the primary server, the name of a TSIG key, and the place of that key", i.Name)
	case i.Solver != solverRFC2136 && (i.Server != "" || i.Key != ""):
		return fmt.Errorf("(%s) has a server or a key, which only the solver rfc2136 reads", i.Name)
	}
	return nil
}

// issuersValue is a list of issuers in YAML.
type issuersValue struct{ place *[]acmeIssuer }

func acmeIssuers(place *[]acmeIssuer) *issuersValue { return &issuersValue{place} }

func (v *issuersValue) Type() string { return "list" }

func (v *issuersValue) String() string {
	var names []string
	for _, i := range *v.place {
		names = append(names, i.Name)
	}
	return strings.Join(names, ",")
}

func (v *issuersValue) Check(text string) error {
	_, err := parseIssuers(text)
	return err
}

func (v *issuersValue) Set(text string) error {
	issuers, err := parseIssuers(text)
	if err == nil {
		*v.place = issuers
	}
	return err
}

// NodeText returns a list of the configuration file as text for Set.
func (v *issuersValue) NodeText(node *yaml.Node) (string, error) {
	text, err := yaml.Marshal(node)
	if err != nil {
		return "", err
	}
	if _, err := parseIssuers(string(text)); err != nil {
		return "", err
	}
	return string(text), nil
}

func parseIssuers(text string) ([]acmeIssuer, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var issuers []acmeIssuer
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&issuers); err != nil {
		return nil, errors.New("must be a list of issuers, each with name and solver, and if need be directory, email, credential, server, key, preferredChain, profile, caFile, externalAccount, propagationTimeout and durations")
	}
	for n := range issuers {
		i := &issuers[n]
		if i.Directory == "" {
			i.Directory = defaultDirectory
		}
		if err := i.check(); err != nil {
			return nil, fmt.Errorf("is no list of issuers: element %d %w", n+1, err)
		}
		i.CAFile, _ = rootsPlace(string(i.CAFile)) // it was checked
		if slices.ContainsFunc(issuers[:n], func(other acmeIssuer) bool { return other.Name == i.Name }) {
			return nil, fmt.Errorf("is no list of issuers: two are called %s", i.Name)
		}
	}
	return issuers, nil
}
