package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIssuers(t *testing.T) {
	cloudflare := acmeIssuer{Name: "acme", Solver: "cloudflare", Email: "you@example.com", Directory: "letsencrypt", Credential: "secret:cloudflare/token"}
	for _, test := range []struct {
		name, file string
		args       []string
		want       []acmeIssuer
		preset     string // the default issuer
	}{
		{"none", "", nil, nil, ""},
		{"self-signed", "", []string{"--default-issuer=self-signed"}, nil, "self-signed"},
		{"one by flags", "", []string{"--acme-solver=cloudflare", "--acme-email=you@example.com", "--acme-credential=secret:cloudflare/token"}, []acmeIssuer{cloudflare}, "acme"},
		{"one in the file, for those who ask", "acmeSolver: cloudflare\nacmeEmail: you@example.com\nacmeCredential: secret:cloudflare/token\ndefaultIssuer: none\n", nil, []acmeIssuer{cloudflare}, ""},
		{"rfc2136", "", []string{"--acme-solver=rfc2136", "--acme-dns-server=192.0.2.1", "--acme-dns-key=hmac-sha512:lintel", "--acme-credential=env:KEY"}, []acmeIssuer{
			{Name: "acme", Solver: "rfc2136", Directory: "letsencrypt", Server: "192.0.2.1", Key: "hmac-sha512:lintel", Credential: "env:KEY"},
		}, "acme"},
		{"several", `
acmeIssuers:
- {name: public, solver: http-01}
- name: inner
  solver: rfc2136
  directory: https://ca.example.com/directory
  server: 192.0.2.1:53
  key: lintel
  credential: file:/etc/key
  externalAccount: {id: a, key: "env:EAB"}
  propagationTimeout: 5m
  profile: shortlived
  preferredChain: Root
  caFile: /etc/ca.pem
  durations: true
defaultIssuer: inner
`, nil, []acmeIssuer{
			{Name: "public", Solver: "http-01", Directory: "letsencrypt"},
			{
				Name: "inner", Solver: "rfc2136", Directory: "https://ca.example.com/directory", Server: "192.0.2.1:53", Key: "lintel", Credential: "file:/etc/key",
				ExternalAccount: externalAccount{ID: "a", Key: "env:EAB"}, PropagationTimeout: "5m", Profile: "shortlived", PreferredChain: "Root", CAFile: "file:/etc/ca.pem", Durations: true,
			},
		}, "inner"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readSettings(t, test.file, nil, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.ACMEIssuers); diff != "" {
				t.Errorf("issuers (-want +got):\n%s", diff)
			}
			if got.DefaultIssuer != test.preset {
				t.Errorf("the default is %q", got.DefaultIssuer)
			}
		})
	}
}

func TestIssuerMistakes(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"acmeSolver: clouflare\n", `lintel.yaml:1: acmeSolver: "clouflare" is no solver; did you mean cloudflare?`},
		{"acmeSolver: dns\n", "there are cloudflare, rfc2136, http-01, tls-alpn-01"},
		{"acmeSolver: cloudflare\n", "acme-solver: the issuer (acme) has no credential: cloudflare needs the place of an API token"},
		{"acmeSolver: rfc2136\nacmeCredential: env:KEY\n", "(acme) lacks server, key or credential"},
		{"acmeSolver: http-01\nacmeDnsServer: 192.0.2.1\n", "which only the solver rfc2136 reads"},
		{"acmeSolver: cloudflare\nacmeCredential: 0123456789\n", "must say where it stands, and not the thing itself"},
		{"acmeEmail: you@example.com\n", "acme-solver is not set"},
		{"acmeSolver: http-01\nacmeEmail: You <you@example.com>\n", "must be an e-mail address"},
		{"acmeSolver: http-01\nacmeDirectory: http://ca.example.com\n", "must be letsencrypt, letsencrypt-staging, zerossl, google, or the URL"},
		{"acmeSolver: http-01\ndefaultIssuer: acne\n", `default-issuer is "acne", which is not one of self-signed, acme`},
		{"manifests: .\nacmeSolver: cloudflare\nacmeCredential: secret:a/b\n", "issuer acme: secret:a/b is a Secret of Kubernetes"},
		{"acmeIssuers:\n- {name: a, solver: httpp-01}\n", `lintel.yaml:1: acmeIssuers: is no list of issuers: element 1 (a) has the solver "httpp-01", which is no solver; did you mean http-01?`},
		{"acmeIssuers:\n- {name: a, solvers: http-01}\n", "must be a list of issuers, each with name and solver"},
		{"acmeIssuers:\n- {name: self-signed, solver: http-01}\n", `element 1 has the name "self-signed"`},
		{"acmeIssuers:\n- {name: a, solver: http-01}\n- {name: a, solver: tls-alpn-01}\n", "two are called a"},
		{"acmeIssuers:\n- {name: a, solver: http-01, propagationTimeout: 5}\n", "must be a time with its unit"},
		{"acmeIssuers:\n- {name: a, solver: cloudflare, credential: my-token}\n", `has the credential "…", which must say where it stands`},
		{"acmeIssuers:\n- {name: a, solver: http-01, caFile: secret:ca}\n", `has the caFile "…", which must say where certificates stand`},
		{"acmeSolver: http-01\nacmeCaFile: |\n  -----BEGIN CERTIFICATE-----\n  MIIB\n", "must say where certificates stand, and not what they are"},
		{"manifests: .\nacmeSolver: http-01\nacmeCaFile: secret:ca/ca.crt\n", "issuer acme: secret:ca/ca.crt is a Secret of Kubernetes"},
		{"acmeIssuers:\n- {name: a, solver: http-01, externalAccount: {id: a}}\n", "has half of an externalAccount"},
		{"acmeIssuers:\n- {name: acme, solver: http-01}\nacmeSolver: http-01\n", "acme-solver makes the issuer acme"},
	} {
		if _, err := readSettings(t, test.file, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.file, err, test.want)
		}
	}
}
