package cloudflare

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// tunnel is a Cloudflare Tunnel; the fake has no edge that it could connect to.
type tunnel struct {
	ID           string     `json:"id"`
	AccountTag   string     `json:"account_tag"`
	Name         string     `json:"name"`
	CreatedAt    time.Time  `json:"created_at"`
	DeletedAt    *time.Time `json:"deleted_at"`
	Status       string     `json:"status"`
	ConfigSource string     `json:"config_src"`
	Connections  []string   `json:"connections"`
	secret       string     // base64
}

// createdTunnel is the answer to a creation alone.
type createdTunnel struct {
	*tunnel
	Token       string            `json:"token"`
	Credentials map[string]string `json:"credentials_file"`
}

// token is what a connector is started with.
func (t *tunnel) token() string {
	content, err := json.Marshal(map[string]string{"a": t.AccountTag, "t": t.ID, "s": t.secret})
	if err != nil {
		panic(err) // strings can be written
	}
	return base64.StdEncoding.EncodeToString(content)
}

func (s *Server) createTunnel(w http.ResponseWriter, r *http.Request, _ *zone) {
	var body struct {
		Name         string `json:"name"`
		ConfigSource string `json:"config_src"`
		Secret       string `json:"tunnel_secret"`
	}
	if !decode(w, r, &body) {
		return
	}
	switch {
	case body.Name == "":
		refuse(w, invalid(1002, "Tunnel name is required"))
		return
	case slices.ContainsFunc(s.tunnels, func(t *tunnel) bool { return t.DeletedAt == nil && t.Name == body.Name }):
		refuse(w, fail(http.StatusConflict, 1013, "You already have a tunnel with this name. Please choose a different name for this tunnel."))
		return
	}
	if body.Secret == "" {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		body.Secret = base64.StdEncoding.EncodeToString(secret)
	}
	if body.ConfigSource == "" {
		body.ConfigSource = "local"
	}
	id := s.newID()
	t := &tunnel{
		ID: fmt.Sprintf("%s-%s-4%s-8%s-%s", id[:8], id[8:12], id[13:16], id[17:20], id[20:]), AccountTag: AccountID, Name: body.Name,
		CreatedAt: time.Now().UTC(), Status: "inactive", ConfigSource: body.ConfigSource, Connections: []string{}, secret: body.Secret,
	}
	s.tunnels = append(s.tunnels, t)
	answer(w, createdTunnel{tunnel: t, Token: t.token(), Credentials: map[string]string{
		"AccountTag": t.AccountTag, "TunnelID": t.ID, "TunnelName": t.Name, "TunnelSecret": t.secret,
	}})
}

func (s *Server) listTunnels(w http.ResponseWriter, r *http.Request, _ *zone) {
	query := r.URL.Query()
	found := slices.DeleteFunc(slices.Clone(s.tunnels), func(t *tunnel) bool {
		deleted := query.Get("is_deleted")
		return query.Get("name") != "" && query.Get("name") != t.Name || deleted == "false" && t.DeletedAt != nil || deleted == "true" && t.DeletedAt == nil
	})
	answerPage(w, r, found, pages{standard: 20, most: 1000})
}

// named returns the tunnel of a path, or answers that there is none.
func (s *Server) named(w http.ResponseWriter, r *http.Request) *tunnel {
	i := slices.IndexFunc(s.tunnels, func(t *tunnel) bool { return t.ID == r.PathValue("tunnel") && t.DeletedAt == nil })
	if i < 0 {
		refuse(w, fail(http.StatusNotFound, 1003, "Tunnel not found"))
		return nil
	}
	return s.tunnels[i]
}

func (s *Server) getTunnel(w http.ResponseWriter, r *http.Request, _ *zone) {
	if t := s.named(w, r); t != nil {
		answer(w, t)
	}
}

func (s *Server) getTunnelToken(w http.ResponseWriter, r *http.Request, _ *zone) {
	if t := s.named(w, r); t != nil {
		answer(w, t.token())
	}
}

func (s *Server) deleteTunnel(w http.ResponseWriter, r *http.Request, _ *zone) {
	if t := s.named(w, r); t != nil {
		now := time.Now().UTC()
		t.DeletedAt, t.Status = &now, "inactive"
		answer(w, t)
	}
}
