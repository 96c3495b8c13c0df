package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
)

// secretFile is a credential that can be replaced while Lintel runs.
func secretFile(t *testing.T, text string) (path string, replace func(string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	replace = func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace(text)
	return path, replace
}

func (h *dnsHome) awaitLog(text string) {
	h.Helper()
	h.await("log", func() string {
		if strings.Contains(h.log.String(), text) {
			return ""
		}
		return "it does not say " + text
	})
}

// TestFaultsOfCloudflareAreSaidAndMended lets the first read meet the limit, and the first batch
// be done though its answer says otherwise.
func TestFaultsOfCloudflareAreSaidAndMended(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	limit := cloudflare.Refuse(cloudflare.Failure{Code: 971, Message: "Please wait"}, http.StatusTooManyRequests, time.Second)
	cf.Intercept("GET /zones/{zone}/dns_records", cloudflare.Times(1, limit))
	cf.Intercept("POST /zones/{zone}/dns_records/batch", cloudflare.Times(1, cloudflare.LoseAnswer))
	token, _ := secretFile(t, cloudflare.Token)
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test")
	h.run(cf.HTTPClient(), "--dns-provider=cloudflare", "--dns-credential=file:"+token)
	h.awaitLog("Please wait (971)")
	h.awaitLog("going on in 1s")
	h.awaitLog("Internal server error (10001)")
	h.await("records", func() string {
		if n := len(cf.Records("example.test")); n != 2 {
			return "not there with its mark, and once"
		}
		return ""
	})
	h.await("metrics", func() string {
		if text := h.metrics(); !strings.Contains(text, `lintel_dns_syncs_total{result="error"} 2`) {
			return text
		}
		return ""
	})
}

// TestAWrongKeyIsSaidAndItsSuccessorUsed replaces the TSIG key under a running Lintel.
func TestAWrongKeyIsSaidAndItsSuccessorUsed(t *testing.T) {
	t.Parallel()
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
	key, replace := secretFile(t, "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc=")
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test")
	h.run(nil, "--dns-provider=rfc2136", "--dns-server="+server.Address, "--dns-zones=example.test", "--dns-key="+server.Key.Name, "--dns-credential=file:"+key)
	h.awaitLog("the server does not accept the TSIG key lintel-test.")
	replace(server.Key.Secret)
	h.await("the record", func() string {
		if found, err := server.LookUp(t.Context(), "shop.example.test", dns.TypeA); err != nil || len(found) != 1 {
			return "is not there"
		}
		return ""
	})
}
