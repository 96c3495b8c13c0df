package main

import (
	"errors"
	"log/slog"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
)

// A replica may lead, lose that as the API server is away, and lead again, while nothing changes
// that is wanted.

func TestRecordsOfTunnelsAreKeptByWhoLeadsAgain(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	s := settingsOf(t)
	r := newTunnelRecords(&s.DNS, slog.New(slog.DiscardHandler), func() {})
	r.client = cf.HTTPClient()
	awaitRecord := func(what string) {
		until(t, what, func() string {
			for _, record := range cf.Records("example.test") {
				if record.Name == "a.example.test" && record.Type == externaldns.CNAME {
					return ""
				}
			}
			return "it is not there"
		})
	}
	r.want.Put(map[types.NamespacedName]recordsWant{{Namespace: "default", Name: "home"}: {
		TunnelRecords: gateway.TunnelRecords{Domains: []string{"example.test"}, APIToken: cloudflare.Token},
		records:       []externaldns.Record{{Name: "a.example.test", Type: externaldns.CNAME, Targets: []string{"there.example.net"}}},
	}})
	end := inBackground(t, r.Run)
	awaitRecord("the record")
	end()
	cf.Remove("example.test", "a.example.test", externaldns.CNAME)
	inBackground(t, r.Run)
	awaitRecord("the record that was removed while nobody led")
}

func TestTunnelsAreCreatedByWhoLeadsAgain(t *testing.T) {
	t.Parallel()
	c, saves := newTestCreator(t)
	end := inBackground(t, c.Run)
	answerNext(t, saves, errors.New("the API server is away"))
	end()
	inBackground(t, c.Run)
	answerNext(t, saves, nil)
}
