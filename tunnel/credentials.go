package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Credentials let a connector serve a tunnel. They are comparable.
type Credentials struct {
	Account string    // the account's id
	Tunnel  uuid.UUID // the tunnel's id
	Secret  string    // bytes, not text
	// Endpoint is the region that the tunnel is bound to ("us", "fed"), "" for none.
	Endpoint string
}

// Hostname is the name that DNS records of the tunnel point to.
func (c Credentials) Hostname() string { return c.Tunnel.String() + ".cfargotunnel.com" }

// Token is what [ParseToken] reads.
func (c Credentials) Token() string {
	text, err := json.Marshal(struct {
		Account  string    `json:"a"`
		Secret   []byte    `json:"s"`
		Tunnel   uuid.UUID `json:"t"`
		Endpoint string    `json:"e,omitempty"`
	}{c.Account, []byte(c.Secret), c.Tunnel, c.Endpoint})
	if err != nil {
		panic(err) // such can be written
	}
	return base64.StdEncoding.EncodeToString(text)
}

// ParseToken reads a token as Cloudflare's dashboard and API hand it out: base64 of JSON.
// Errors never contain a part of it.
func ParseToken(token string) (Credentials, error) {
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return Credentials{}, errors.New("read tunnel token: it is not base64; a token begins with eyJ and has no spaces")
	}
	var parts struct {
		Account  string    `json:"a"`
		Secret   []byte    `json:"s"`
		Tunnel   uuid.UUID `json:"t"`
		Endpoint string    `json:"e"`
	}
	if json.Unmarshal(text, &parts) != nil {
		return Credentials{}, errors.New("read tunnel token: it holds no tunnel; is it an API token, or cut short?")
	}
	c := Credentials{Account: parts.Account, Tunnel: parts.Tunnel, Secret: string(parts.Secret), Endpoint: parts.Endpoint}
	if err := c.check(); err != nil {
		return Credentials{}, fmt.Errorf("read tunnel token: %w", err)
	}
	return c, nil
}

// ParseFile reads a credentials file as "cloudflared tunnel create" writes it. Errors
// never contain a part of it.
func ParseFile(text []byte) (Credentials, error) {
	var parts struct {
		AccountTag   string
		TunnelSecret []byte
		TunnelID     uuid.UUID
		Endpoint     string
	}
	if json.Unmarshal(text, &parts) != nil {
		return Credentials{}, errors.New("read tunnel credentials: not JSON with AccountTag, TunnelID and TunnelSecret")
	}
	c := Credentials{Account: parts.AccountTag, Tunnel: parts.TunnelID, Secret: string(parts.TunnelSecret), Endpoint: parts.Endpoint}
	if err := c.check(); err != nil {
		return Credentials{}, fmt.Errorf("read tunnel credentials: %w", err)
	}
	return c, nil
}

func (c Credentials) check() error {
	switch {
	case c.Account == "":
		return errors.New("the account is missing")
	case c.Tunnel == uuid.Nil:
		return errors.New("the tunnel's id is missing")
	case c.Secret == "":
		return errors.New("the secret is missing")
	}
	return nil
}
