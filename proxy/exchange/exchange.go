// Package exchange is what one request and its response mean to the gateway: which
// Rule takes the request, what is told to the upstream, and what to the client. It
// does no I/O and reads no clock, so that both lanes of the data plane, blocking
// goroutines and event loops, share it and cannot differ.
//
// Heads are in the terms of HTTP/1.1 ([h1.Request], [h1.Response]) whatever the
// protocol on the wire is: HTTP/2 and HTTP/3 have the same semantics (RFC 9110).
package exchange

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// Client is what is known of the connection that a request came by. It is
// immutable while requests come.
type Client struct {
	Socket  string     // the listening socket, as the Table knows it
	Addr    netip.Addr // the peer
	Address string     // Addr as text
	Port    string     // the local port
	Scheme  string     // "http", "https"
	Trusted bool       // the peer is one of the TrustedProxies
	// AltSvc tells the client that the port it came to serves HTTP/3 as well.
	AltSvc bool

	// Source is the peer with its port, and Destination the address that it connected to,
	// as a load balancer has told it by the PROXY protocol, or else as the socket has
	// them.
	Source, Destination netip.AddrPort

	// Protocol is "HTTP/2.0" or "HTTP/3.0"; "" is HTTP/1, of which the request says more.
	Protocol string
	// ServerName is what the client has named in the handshake of TLS, as
	// [router.NormalizeHost] gives it; "" for nothing.
	ServerName string
	// Barred is why the client's requests are not served; "" when they are.
	Barred Cause
}

// Exchange is one request and its response, used again for the next. One goroutine
// uses it at a time. Settings, Client, Dates and Pressure are set once by its owner, and
// Request is filled before [Exchange.Begin].
type Exchange struct {
	Settings *Settings
	Client   *Client
	Dates    *Dates
	Pressure *Pressure // nil is none
	// Memory is how many bytes it takes at worst, while its client or its backend is slow:
	// what Admit counts. Less than 64 KiB are taken for as many.
	Memory  int
	Request *h1.Request
	// Ask asks an authorization server about the request, and waits. It returns false, and what
	// the client is told, unless the server consents. It is nil where nothing can wait: see
	// Waits.
	Ask func(*router.ExternalAuth) (refusal Answer, granted bool)

	Match  router.Request          // what the Table was asked
	Rule   *router.Rule            // nil when none matched
	Chosen *router.WeightedBackend // nil unless the request is to be forwarded

	// Keep says that the connection goes on after this exchange. The owner may take
	// it back until the response's head is made.
	Keep   bool
	Report Report
	// Waits says that Decide could not ask, and has not decided: the request is for
	// somebody who can wait.
	Waits bool
	// Repeatable says that the request may be repeated whatever its method is.
	Repeatable bool

	admitted bool             // counted at the Backend
	weighs   int              // bytes counted at Pressure
	endpoint *router.Endpoint // of the last attempt, nil before
	session  session
	granted  granted

	fields  []router.Field // of the head that is being written
	target  []byte         // of the request line that goes upstream
	scratch []byte         // values of our own fields
	id      [32]byte       // of the request, when it is ours
	altSvc  []byte         // the value of Alt-Svc
	web     GRPCWeb        // what the request was before it became gRPC
	sized   bool           // the response's head has told the length of its body
}

// Forget readies x for a request whose head is not there yet.
func (x *Exchange) Forget() {
	x.Rule, x.Chosen, x.Keep, x.endpoint, x.web = nil, nil, false, nil, NoGRPCWeb
	x.sized = false
	x.session.settings, x.session.found = nil, false
	x.granted, x.Waits = granted{}, false
	x.Report = Report{Socket: x.Client.Socket, Client: x.Client.Addr, Scheme: x.Client.Scheme}
}

// Begin notes what the head says. The exchange starts now.
func (x *Exchange) Begin(now time.Time) {
	x.Keep = x.Request.KeepAlive
	x.Report.Start = now
	x.Report.Method = x.Request.Method
	switch {
	case x.Client.Protocol != "":
		x.Report.Protocol = x.Client.Protocol
	case x.Request.Minor == 0:
		x.Report.Protocol = "HTTP/1.0"
	default:
		x.Report.Protocol = "HTTP/1.1"
	}
}

// Answer is a response of our own. The zero Answer is none.
type Answer struct {
	Status   int
	Cause    Cause
	Location string // "" for none
	Body     string // "" for the status in words
	// Refusal is the response of an authorization server, in the place of a body and fields
	// of our own; nil for none.
	Refusal *Refusal

	preflight bool // to one of CORS
}

// Decide finds the Rule in table, and returns the Answer that the request gets at
// once; or the zero Answer when it is to be forwarded to Chosen.
func (x *Exchange) Decide(table *router.Table) Answer {
	if cause := x.normalise(); cause != CauseNone {
		return cause.Answer()
	}
	if x.Client.Barred != CauseNone {
		return x.Client.Barred.Answer()
	}
	if m := x.Request.Method; m == http.MethodConnect || m == http.MethodTrace {
		// A tunnel to anywhere and an echo of credentials are not for a gateway.
		return Answer{Status: http.StatusMethodNotAllowed, Cause: CauseBadRequest}
	}
	if x.Pressure.High() {
		return CauseOverload.Answer()
	}
	if x.misdirected(table) {
		return CauseMisdirected.Answer()
	}
	if refusal, granted := x.pass(table); !granted {
		return refusal
	}
	x.Rule = table.Match(x.Client.Socket, &x.Match)
	preflights := x.preflights()
	if preflights {
		x.matchPreflight(table)
	}
	if x.Rule == nil {
		return CauseNoRoute.Answer()
	}
	x.Report.Listener, x.Report.Route = x.Rule.Listener, x.Rule.Route

	action := &x.Rule.Action
	switch {
	case x.TooLarge(0):
		return CauseBodyTooLarge.Answer()
	case action.Status != 0:
		return Answer{Status: action.Status, Body: action.Body}
	case preflights && action.CORS != nil:
		return Answer{Status: http.StatusNoContent, preflight: true}
	}
	if refusal, granted := x.ask(action.Auth); !granted {
		return refusal
	}
	if action.Redirect != nil {
		return Answer{Status: action.Redirect.Status, Location: action.Redirect.Location(&x.Match, x.Rule.Match.Path)}
	}
	chosen := action.Pick()
	if chosen == nil || chosen.Backend == nil {
		return CauseNoBackend.Answer()
	}
	x.Chosen = chosen
	x.Report.Backend = chosen.Backend.Name
	if s := action.SessionOf(chosen); s != nil {
		x.continueSession(s)
	}
	x.gather()
	return Answer{}
}

// misdirected reports whether the request came by a TLS connection for another Listener, as
// clients do that use a connection for all names that its certificate has (RFC 9113
// §9.1.1). Nearly all requests are for the name that the handshake had.
func (x *Exchange) misdirected(table *router.Table) bool {
	c := x.Client
	return x.Match.Host != c.ServerName && c.Scheme == "https" && table.Misdirected(c.Socket, c.ServerName, x.Match.Host)
}

// normalise fills what the Table matches.
func (x *Exchange) normalise() Cause {
	r := x.Request
	host, ok := router.NormalizeHost(r.Host)
	if !ok && r.Host != "" { // HTTP/1.0 may come without
		return CauseBadRequest
	}
	path := "/"
	if r.Path != "*" && r.Method != http.MethodConnect {
		if path, ok = router.NormalizePath(r.Path); !ok {
			return CauseBadRequest
		}
	}
	x.Match = router.Request{Method: r.Method, Host: host, Path: path, Query: r.Query, Fields: x.believed()}
	x.Report.Host, x.Report.Path = host, path
	x.Report.Client = x.clientAddress()
	if x.Settings.Observe != nil {
		x.Report.UserAgent, _ = router.Lookup(r.Fields, "User-Agent")
	}
	return CauseNone
}

// Deadline is when the exchange has to be over: [Forever] away without a
// RequestTimeout.
func (x *Exchange) Deadline() time.Time {
	limit := Forever
	if x.Rule != nil && x.Rule.Action.RequestTimeout > 0 {
		limit = x.Rule.Action.RequestTimeout
	}
	return x.Report.Start.Add(limit)
}

// TooLarge reports whether a body exceeds MaxBody, of which received bytes came.
func (x *Exchange) TooLarge(received int64) bool {
	limit := x.Settings.MaxBody
	if limit <= 0 {
		return false
	}
	return received > limit || x.Request.Framing == h1.Length && x.Request.Length > limit
}

// Idempotent reports whether the request may be repeated (RFC 9110 §9.2.2).
func (x *Exchange) Idempotent() bool {
	if x.Repeatable {
		return true
	}
	switch x.Request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// Observe ends the exchange, of whose body received bytes came: the Backend gets to
// know, and whoever observes.
func (x *Exchange) Observe(received int64, now time.Time) {
	x.conclude(now)
	if x.Settings.Observe == nil {
		return
	}
	if x.Report.Duration == 0 {
		x.Report.Duration = now.Sub(x.Report.Start)
	}
	x.Report.Received = received
	x.Settings.Observe(&x.Report)
}
