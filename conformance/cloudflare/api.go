package cloudflare

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// base is the path of the API.
const base = "/client/v4"

// access is what an endpoint needs of a token.
type access int

const (
	read access = iota
	change
	tunnels
)

// endpoint is one operation. It runs while the server is locked, with the zone of
// the path, if that names one.
type endpoint struct {
	pattern string // METHOD PATH, below base
	needs   access
	serve   func(w http.ResponseWriter, r *http.Request, z *zone)
}

func (s *Server) endpoints() []endpoint {
	const records, account = "/zones/{zone}/dns_records", "/accounts/{account}/cfd_tunnel"
	return []endpoint{
		{"GET /user/tokens/verify", read, s.verifyToken},
		{"GET /zones", read, s.listZones},
		{"GET /zones/{zone}", read, s.getZone},
		{"GET " + records, read, s.listRecords},
		{"POST " + records, change, s.createRecord},
		{"POST " + records + "/batch", change, s.batch},
		{"GET " + records + "/{record}", read, s.getRecord},
		{"PUT " + records + "/{record}", change, s.replaceRecord},
		{"PATCH " + records + "/{record}", change, s.patchRecord},
		{"DELETE " + records + "/{record}", change, s.deleteRecord},
		{"GET " + account, tunnels, s.listTunnels},
		{"POST " + account, tunnels, s.createTunnel},
		{"GET " + account + "/{tunnel}", tunnels, s.getTunnel},
		{"GET " + account + "/{tunnel}/token", tunnels, s.getTunnelToken},
		{"DELETE " + account + "/{tunnel}", tunnels, s.deleteTunnel},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, e := range s.endpoints() {
		method, path, _ := strings.Cut(e.pattern, " ")
		mux.HandleFunc(method+" "+base+path, func(w http.ResponseWriter, r *http.Request) { s.call(w, r, e) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { refuse(w, noRoute(r.URL.Path)) })
	return mux
}

// call counts a request, and hands it to an Interceptor or to the endpoint.
func (s *Server) call(w http.ResponseWriter, r *http.Request, e endpoint) {
	s.mu.Lock()
	s.calls[e.pattern]++
	intercept := s.interceptors[e.pattern]
	if intercept == nil {
		intercept = s.interceptors[""]
	}
	s.mu.Unlock()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, e) })
	if intercept != nil {
		intercept(w, r, next)
		return
	}
	next(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	header := r.Header.Get("Authorization")
	token, bearer := strings.CutPrefix(header, "Bearer ")
	switch {
	case header == "":
		refuse(w, fail(http.StatusBadRequest, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"))
		return
	case !bearer || len(token) < 20 || strings.ContainsAny(token, " \n"):
		f := fail(http.StatusBadRequest, 6003, "Invalid request headers")
		f.Chain = []Failure{{Code: 6111, Message: "Invalid format for Authorization header"}}
		refuse(w, f)
		return
	}
	if !s.limit(w, token) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, known := s.tokens[token]
	if !known {
		f := fail(http.StatusForbidden, 9109, "Invalid access token")
		if e.pattern == "GET /user/tokens/verify" {
			f = fail(http.StatusUnauthorized, 1000, "Invalid API Token")
		}
		refuse(w, f)
		return
	}
	if account := r.PathValue("account"); e.needs == change && !grant.Write || e.needs == tunnels && (!grant.Tunnels || account != AccountID) {
		refuse(w, fail(http.StatusForbidden, 10000, "Authentication error"))
		return
	}
	var z *zone
	if id := r.PathValue("zone"); id != "" {
		if z = s.zoneByID(id, grant); z == nil {
			refuse(w, noRoute(r.URL.Path))
			return
		}
	}
	e.serve(w, r, z)
}

func (g Grant) sees(z *zone) bool { return g.Zones == nil || slices.Contains(g.Zones, z.name) }

func (s *Server) zoneByID(id string, g Grant) *zone {
	for _, z := range s.zones {
		if z.id == id && g.sees(z) {
			return z
		}
	}
	return nil
}

func (s *Server) verifyToken(w http.ResponseWriter, _ *http.Request, _ *zone) {
	answer(w, map[string]string{"id": s.newID(), "status": "active"})
}

// decode reads a body, and answers itself when that is not possible.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		refuse(w, fail(http.StatusBadRequest, 9207, "Request body is invalid."))
		return false
	}
	return true
}
