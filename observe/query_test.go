package observe

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func query(t *testing.T, text string) Query {
	t.Helper()
	values, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuery(values, time.Unix(1000, 0))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

func TestQueryFits(t *testing.T) {
	request := Record{
		Kind: KindL7, Verdict: VerdictForwarded, Host: "Shop.example.com", Status: 503, Route: "HTTPRoute front/shop", Backend: "back/shop:80",
		Source:      Peer{Address: netip.MustParseAddr("10.0.0.9"), Namespace: "clients", Pod: "curl"},
		Destination: Peer{Address: netip.MustParseAddr("10.0.0.1"), Namespace: "back", Pod: "shop-6d5f-abcde", Service: "shop"},
	}
	connection := Record{Kind: KindL4, Verdict: VerdictReset}
	for text, want := range map[string]bool{
		"":                                true,
		"kind=l7":                         true,
		"kind=l4,stream":                  false,
		"verdict=failed,forwarded":        true,
		"namespace=front":                 true,
		"namespace=back":                  true,
		"namespace=cli*":                  true,
		"namespace=other":                 false,
		"pod=curl":                        true,
		"pod=shop-*":                      true,
		"pod=back/shop-*":                 true,
		"pod=front/shop-*":                false,
		"pod=shop":                        false,
		"service=shop":                    true,
		"host=shop.example.com":           true,
		"host=*.example.com":              true,
		"host=example.com":                false,
		"status=503":                      true,
		"status=5xx":                      true,
		"status=500-502":                  false,
		"status=404&status=5xx":           true,
		"status=5xx&host=other.example.*": false,
	} {
		q := query(t, text)
		if got := q.Fits(&request); got != want {
			t.Errorf("%q fits the request: %v", text, got)
		}
		if text != "" && !strings.HasPrefix(text, "kind=l4") && q.Fits(&connection) {
			t.Errorf("%q fits a connection that is nobody's", text)
		}
		if !q.Fits(&Record{Kind: KindLost}) {
			t.Errorf("%q hides that records are missing", text)
		}
	}
}

func TestQueryPast(t *testing.T) {
	all := func() (r []Record) {
		for second := range 5 {
			r = append(r, Record{Kind: KindL7, Time: time.Unix(int64(990+second*2), 0), Status: 200 + second%2})
		}
		return r
	}
	for text, want := range map[string]int{
		"": 5, "follow=true": 0, "last=2": 2, "last=9": 5, "last=2&follow=true": 2, "since=5s": 2, "since=5s&last=1": 1,
		"since=1970-01-01T00:16:36Z": 2, "status=201": 2, "status=200&last=1": 1,
	} {
		q := query(t, text)
		past := q.Past(all())
		if len(past) != want {
			t.Errorf("%q gives %d, want %d", text, len(past), want)
		}
		if q.Last > 0 && text != "status=200&last=1" && past[len(past)-1].Time.Unix() != 998 {
			t.Errorf("%q does not give the newest", text)
		}
	}
}

func TestQueryMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"hots=x":          `"hots" is none of host, kind, namespace, pod, service, status, verdict, last, since, follow (did you mean host?)`,
		"kind=l8":         `kind "l8" is no kind: l7, l4, stream (did you mean l7?)`,
		"verdict=resett":  `(did you mean reset?)`,
		"status=6xx":      `status "6xx" must be a status such as 404, a class such as 5xx, or a range such as 500-503`,
		"status=503-500":  `status "503-500" must be`,
		"status=":         `status "" must be`,
		"pod=[a":          `pod "[a" must be a name`,
		"last=0":          `last "0" must be a whole number, 1 or more`,
		"since=yesterday": `since "yesterday" must be a time with its unit, such as 30s or 5m, or a date like 1970-01-01T00:16:40Z`,
		"follow=perhaps":  `follow "perhaps" must be true or false`,
	} {
		values, _ := url.ParseQuery(text)
		if _, err := ParseQuery(values, time.Unix(1000, 0)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestCompact(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	shop := Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 8080, Namespace: "default", Pod: "shop-1", Service: "shop"}
	for want, r := range map[string]Record{
		"03:04:05.006  192.0.2.9 -> default/shop-1:8080  FORWARDED  GET https://shop.example.com/cart  200  1.23ms  2 attempts  (HTTPRoute default/shop)": {
			Kind: KindL7, Verdict: VerdictForwarded, Source: Peer{Address: netip.MustParseAddr("192.0.2.9")}, Destination: shop,
			Method: "GET", Scheme: "https", Host: "shop.example.com", Path: "/cart", Status: 200, Seconds: .001234567, Attempts: 2, Route: "HTTPRoute default/shop",
		},
		"03:04:05.006  192.0.2.9 -> default/shop:80  FAILED  - http://h/??[31m  -  0s  no endpoint": {
			Kind: KindL7, Verdict: VerdictFailed, Source: Peer{Address: netip.MustParseAddr("192.0.2.9")}, Backend: "default/shop:80",
			Scheme: "http", Host: "h", Path: "/\n\x1b[31m", Cause: "no endpoint",
		},
		"03:04:05.006  192.0.2.9 -> default/shop:8080  CLOSED  tcp out  3.4KiB sent 512B received  2m13s  rtt 1.5ms (min 900µs)  4 retransmits": {
			Kind: KindL4, Verdict: VerdictClosed, Source: Peer{Address: netip.MustParseAddr("192.0.2.9")},
			Destination: Peer{Address: shop.Address, Port: 8080, Namespace: "default", Service: "shop"}, Protocol: "tcp", Direction: DirectionOut,
			BytesOut: 3500, BytesIn: 512, Seconds: 133.0001, RTTSeconds: .0015, MinRTTSeconds: .0009, Retransmits: 4,
		},
		"03:04:05.006  [2001:db8::1]:443 -> 10.0.0.1:80  RESET  tcp  0B sent 5.0MiB received  began before recording": {
			Kind: KindL4, Verdict: VerdictReset, Source: Peer{Address: netip.MustParseAddr("2001:db8::1"), Port: 443},
			Destination: Peer{Address: shop.Address, Port: 80}, Protocol: "tcp", BytesIn: 5 << 20, Before: true,
		},
		"03:04:05.006  192.0.2.9 -> default/shop-1:8080  FORWARDED  tls 1.5s  7B sent 5B received  db.example.com  (TLSRoute default/db)": {
			Kind: KindStream, Verdict: VerdictForwarded, Source: Peer{Address: netip.MustParseAddr("192.0.2.9")}, Destination: shop,
			Protocol: "tls", Host: "db.example.com", Seconds: 1.5, BytesOut: 7, BytesIn: 5, Route: "TLSRoute default/db",
		},
		"03:04:05.006  -- 12 records lost: this reader was too slow": {Kind: KindLost, Lost: 12, Cause: causeSlowReader},
	} {
		r.Time = at
		if got := r.Compact(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
