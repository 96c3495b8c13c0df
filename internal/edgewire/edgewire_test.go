package edgewire_test

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/internal/edgewire"
)

func TestPairsAreBase64(t *testing.T) {
	var packed []byte
	var want []string
	for i := range 20 {
		name, value := strings.Repeat("n", i+1), strings.Repeat("\xff\x00 ü", i)
		packed = edgewire.AppendPair(packed, name, value)
		want = append(want, base64.RawStdEncoding.EncodeToString([]byte(name))+":"+base64.RawStdEncoding.EncodeToString([]byte(value)))
	}
	if got := string(packed); got != strings.Join(want, ";") {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTheEdgesHopIsCut(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.7")
	for chain, want := range map[string]string{
		"192.0.2.7": "", "10.0.0.1,192.0.2.7": "10.0.0.1", "10.0.0.1, 192.0.2.7": "10.0.0.1", "a,::ffff:192.0.2.7": "a",
		"192.0.2.7,10.0.0.1": "192.0.2.7,10.0.0.1", "": "", "unknown": "unknown",
	} {
		if got, _ := edgewire.CutClient(chain, client); got != want {
			t.Errorf("%q becomes %q, want %q", chain, got, want)
		}
	}
}

func TestFieldsOfTheEdgeAreItsOwn(t *testing.T) {
	for name, want := range map[string]bool{"CF-Cloudflared-Response-Meta": true, "cf-int-x": true, "Cf-Proxy-Y": true, "Cf-Ray": false, "Content-Type": false, "cf": false} {
		if edgewire.Controls(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
