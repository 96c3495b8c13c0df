package observe

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// scrape returns the lines of /metrics that begin with prefix.
func scrape(t *testing.T, m *Metrics, prefix string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func wantLine(t *testing.T, m *Metrics, want string) {
	t.Helper()
	series := want[:strings.LastIndexByte(want, ' ')]
	if lines := scrape(t, m, series); len(lines) != 1 || lines[0] != want {
		t.Errorf("got %q; want %q", lines, want)
	}
}

func exchange(status int) *Exchange {
	return &Exchange{
		Listener: "Gateway default/web/http", Route: "HTTPRoute default/shop",
		Protocol: "HTTP/1.1", Status: status, Duration: 3 * time.Millisecond,
	}
}

func TestExchangesAreCountedByClass(t *testing.T) {
	m := NewMetrics(Build{})
	for _, status := range []int{200, 204, 301, 404, 404, 404, 503, 101, 0, 999} {
		m.ObserveExchange(exchange(status))
	}
	const rest = `,listener="Gateway default/web/http",protocol="HTTP/1.1",route="HTTPRoute default/shop"} `
	for _, want := range []string{
		`{code="1xx"` + rest + "1", `{code="2xx"` + rest + "2", `{code="3xx"` + rest + "1", `{code="4xx"` + rest + "3",
		`{code="5xx"` + rest + "1", `{code="aborted"` + rest + "2",
	} {
		found := false
		for _, line := range scrape(t, m, "lintel_requests_total") {
			found = found || line == "lintel_requests_total"+want
		}
		if !found {
			t.Errorf("missing: lintel_requests_total%s", want)
		}
	}
	const labels = `{listener="Gateway default/web/http",route="HTTPRoute default/shop"`
	for _, line := range []string{
		"lintel_request_duration_seconds_bucket" + labels + `,le="0.0025"} 0`,
		"lintel_request_duration_seconds_bucket" + labels + `,le="0.005"} 10`,
		"lintel_request_duration_seconds_count" + labels + "} 10",
	} {
		name, _, _ := strings.Cut(line, "} ")
		if got := scrape(t, m, name); len(got) != 1 || got[0] != line {
			t.Errorf("got %q; want %q", got, line)
		}
	}
}

func TestProtocolsOfClientsMakeNoSeriesEach(t *testing.T) {
	m := NewMetrics(Build{})
	for _, protocol := range []string{"HTTP/1.1", "HTTP/7.3", "EVIL/9.9", ""} {
		e := exchange(400)
		e.Protocol = protocol
		m.ObserveExchange(e)
	}
	if lines := scrape(t, m, `lintel_requests_total{code="4xx"`); len(lines) != 2 {
		t.Errorf("got %d series: %q", len(lines), lines)
	}
}

// What an Exchange aliases is overwritten by the next request of its connection, but for
// Listener and Route, which a new configuration may have anew.
func TestLabelsOutliveTheExchange(t *testing.T) {
	m := NewMetrics(Build{})
	protocol := []byte("HTTP/1.1")
	e := exchange(200)
	e.Protocol = unsafeString(protocol)
	m.ObserveExchange(e)
	copy(protocol, "XXXXXXXX")
	e.Protocol, e.Route = "HTTP/1.1", strings.Clone(e.Route)
	m.ObserveExchange(e)
	if lines := scrape(t, m, `lintel_requests_total{code="2xx"`); len(lines) != 1 ||
		!strings.HasSuffix(lines[0], `route="HTTPRoute default/shop"} 2`) {
		t.Errorf("got %q", lines)
	}
}

func TestKeepDeletesTheSeriesOfRemovedRoutes(t *testing.T) {
	m := NewMetrics(Build{})
	stays, goes, unmatched := exchange(200), exchange(200), exchange(404)
	goes.Route = "HTTPRoute default/gone"
	unmatched.Listener, unmatched.Route = "", ""
	for _, e := range []*Exchange{stays, goes, unmatched} {
		m.ObserveExchange(e)
	}
	m.Keep(map[Attachment]bool{{stays.Listener, stays.Route}: true})
	for _, name := range []string{"lintel_requests_total{", "lintel_request_duration_seconds_count{"} {
		for _, line := range scrape(t, m, name) {
			if strings.Contains(line, "default/gone") {
				t.Errorf("still there: %s", line)
			}
		}
	}
	m.ObserveExchange(stays)
	m.ObserveExchange(unmatched)
	if got := scrape(t, m, `lintel_request_duration_seconds_count{listener="Gateway default/web/http"`); len(got) != 1 || !strings.HasSuffix(got[0], " 2") {
		t.Errorf("the series that stays: %q", got)
	}
	if got := scrape(t, m, `lintel_request_duration_seconds_count{listener=""`); len(got) != 1 || !strings.HasSuffix(got[0], " 2") {
		t.Errorf("the series without a route: %q", got)
	}
	m.ObserveExchange(goes) // a Route may come back: it counts from zero
	if got := scrape(t, m, `lintel_requests_total{code="2xx",listener="Gateway default/web/http",protocol="HTTP/1.1",route="HTTPRoute default/gone"`); len(got) != 1 || !strings.HasSuffix(got[0], " 1") {
		t.Errorf("the series that came back: %q", got)
	}
}

func TestObjectsAreReplaced(t *testing.T) {
	m := NewMetrics(Build{})
	accepted := ObjectCondition{"HTTPRoute", "Accepted", "True"}
	refused := ObjectCondition{"HTTPRoute", "Accepted", "False"}
	for _, counts := range []map[ObjectCondition]int{{accepted: 2, refused: 1}, {accepted: 3}} {
		m.SetObjects(func() map[ObjectCondition]int { return counts })
	}
	if lines := scrape(t, m, "lintel_objects{"); len(lines) != 1 || lines[0] != `lintel_objects{condition="Accepted",kind="HTTPRoute",status="True"} 3` {
		t.Errorf("got %q", lines)
	}
}

func TestGaugesAndBuilds(t *testing.T) {
	m := NewMetrics(Build{Version: "v1.2.3", Commit: "abc", GoVersion: "go1.27"})
	number := func(n int64) func() int64 { return func() int64 { return n } }
	m.ObserveConnections(Connections{Downstream: number(1), Upstream: number(2), UpstreamIdle: number(3), Upgraded: number(4), Refused: number(5),
		Streams: number(6), Sessions: number(7), Dropped: number(8), Mirroring: number(9), MirrorsCut: number(10), NoAccess: number(11)})
	m.ObserveBuild(3 * time.Millisecond)
	for _, want := range []string{
		"lintel_downstream_connections 1", "lintel_upstream_connections 2",
		"lintel_upstream_idle_connections 3", "lintel_upgraded_connections 4", "lintel_refused_connections_total 5",
		"lintel_open_streams 6", "lintel_udp_sessions 7", "lintel_udp_dropped_total 8",
		"lintel_mirroring 9", "lintel_mirrors_cut_total 10", "lintel_no_access_total 11",
		"lintel_config_builds_total 1", "lintel_config_build_seconds_count 1", "lintel_access_log_dropped_total 0",
	} {
		wantLine(t, m, want)
	}
	if lines := scrape(t, m, "lintel_build_info"); len(lines) != 1 || lines[0] != `lintel_build_info{commit="abc",goversion="go1.27",version="v1.2.3"} 1` {
		t.Errorf("got %q", lines)
	}
	for _, name := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if len(scrape(t, m, name)) != 1 {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestObserveWhileSeriesComeAndGo(t *testing.T) {
	m := NewMetrics(Build{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 500 {
				e := exchange(200)
				e.Route = "HTTPRoute default/" + string(rune('a'+i%26))
				m.ObserveExchange(e)
			}
		})
	}
	for range 50 {
		m.Keep(map[Attachment]bool{{"Gateway default/web/http", "HTTPRoute default/a"}: true})
	}
	group.Wait()
	m.Keep(map[Attachment]bool{{"Gateway default/web/http", "HTTPRoute default/a"}: true})
	if lines := scrape(t, m, `lintel_requests_total{code="2xx"`); len(lines) > 1 {
		t.Errorf("series are left: %q", lines)
	}
}

func TestWarmExchangeDoesNotAllocate(t *testing.T) {
	m := NewMetrics(Build{})
	e := exchange(200)
	m.ObserveExchange(e)
	if n := testing.AllocsPerRun(100, func() { m.ObserveExchange(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserveExchange(b *testing.B) {
	m := NewMetrics(Build{})
	b.Run("one", func(b *testing.B) {
		e := exchange(200)
		b.ReportAllocs()
		for b.Loop() {
			m.ObserveExchange(e)
		}
	})
	b.Run("many routes", func(b *testing.B) { // each from another part of memory
		all := make([]*Exchange, 5000)
		for i := range all {
			all[i] = exchange(200)
			all[i].Route = fmt.Sprint("HTTPRoute default/app-", i)
			m.ObserveExchange(all[i])
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			m.ObserveExchange(all[i%len(all)])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			e := exchange(200)
			for pb.Next() {
				m.ObserveExchange(e)
			}
		})
	})
}

// Connections that are not HTTP count apart from requests, and as long as their Route lives.
func TestStreamSeries(t *testing.T) {
	m := NewMetrics(Build{})
	mail := Attachment{"Gateway default/web/mail", "TLSRoute default/mail"}
	for _, cause := range []string{"", "", "upstream reset"} {
		m.ObserveExchange(&Exchange{Listener: mail.Listener, Route: mail.Route, Protocol: "tls", BytesIn: 10, BytesOut: 200, Cause: cause})
	}
	labels := `listener="Gateway default/web/mail",`
	wantLine(t, m, `lintel_streams_total{`+labels+`ok="true",protocol="tls",route="TLSRoute default/mail"} 2`)
	wantLine(t, m, `lintel_streams_total{`+labels+`ok="false",protocol="tls",route="TLSRoute default/mail"} 1`)
	wantLine(t, m, `lintel_stream_bytes_total{direction="in",`+labels+`protocol="tls",route="TLSRoute default/mail"} 30`)
	wantLine(t, m, `lintel_stream_bytes_total{direction="out",`+labels+`protocol="tls",route="TLSRoute default/mail"} 600`)
	if lines := scrape(t, m, "lintel_requests_total"); len(lines) != 0 {
		t.Errorf("they count as requests: %q", lines)
	}
	m.Keep(map[Attachment]bool{mail: true})
	if lines := scrape(t, m, "lintel_streams_total"); len(lines) != 2 {
		t.Errorf("got %q", lines)
	}
	m.Keep(nil)
	if lines := append(scrape(t, m, "lintel_streams_total"), scrape(t, m, "lintel_stream_bytes_total")...); len(lines) != 0 {
		t.Errorf("they outlive their Route: %q", lines)
	}
}

func TestCertificatesAreReplaced(t *testing.T) {
	m := NewMetrics(Build{})
	m.SetCertificates(map[Certificate]time.Time{
		{"default", "web", "acme"}: time.Unix(1000, 0),
		{"default", "own", ""}:     time.Unix(2000, 0),
	})
	wantLine(t, m, `lintel_tls_certificate_not_after_seconds{issuer="acme",namespace="default",secret="web"} 1000`)
	m.SetCertificates(map[Certificate]time.Time{{"default", "web", "acme"}: time.Unix(3000, 0)})
	wantLine(t, m, `lintel_tls_certificate_not_after_seconds{issuer="acme",namespace="default",secret="web"} 3000`)
	if lines := scrape(t, m, "lintel_tls_certificate_not_after_seconds"); len(lines) != 1 {
		t.Errorf("got %q", lines)
	}
	m.Ordered("acme")
	m.Obtained("acme")
	m.OrderFailed("acme", "rateLimited")
	wantLine(t, m, `lintel_acme_failures_total{issuer="acme",reason="rateLimited"} 1`)
	for _, name := range []string{"orders", "certificates"} {
		wantLine(t, m, `lintel_acme_`+name+`_total{issuer="acme"} 1`)
	}
}

// Series of many Routes that get their first request cost little each, and none is lost.
func TestManySeries(t *testing.T) {
	m := NewMetrics(Build{})
	const routes = 3000
	for range 2 {
		for i := range routes {
			e := exchange(200)
			e.Route = fmt.Sprint("HTTPRoute default/app-", i)
			m.ObserveExchange(e)
		}
	}
	lines := scrape(t, m, "lintel_requests_total{")
	if len(lines) != routes {
		t.Errorf("%d series", len(lines))
	}
	for _, line := range lines {
		if !strings.HasSuffix(line, " 2") {
			t.Fatalf("%s", line)
		}
	}
}

func BenchmarkNewSeries(b *testing.B) {
	m := NewMetrics(Build{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := exchange(200)
		e.Route = fmt.Sprint("HTTPRoute default/app-", i)
		m.ObserveExchange(e)
	}
}
