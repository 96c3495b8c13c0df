package tunnel_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/tunnel"
)

const sampleTunnel = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"

func TestParseToken(t *testing.T) {
	text := `{"a":"abc","t":"` + sampleTunnel + `","s":"c2VjcmV0","e":"us"}`
	got, err := tunnel.ParseToken(" " + base64.StdEncoding.EncodeToString([]byte(text)) + "\n")
	want := tunnel.Credentials{Account: "abc", Tunnel: uuid.MustParse(sampleTunnel), Secret: "secret", Endpoint: "us"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if again, err := tunnel.ParseToken(got.Token()); err != nil || again != got {
		t.Errorf("%+v, %v", again, err)
	}
	if got.Hostname() != sampleTunnel+".cfargotunnel.com" {
		t.Error(got.Hostname())
	}
}

func TestParseTokenSaysWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct{ token, says string }{
		"an API token":  {"v1.0-not base64", "not base64"},
		"cut short":     {base64.StdEncoding.EncodeToString([]byte(`{"a":"abc"`)), "cut short"},
		"no account":    {base64.StdEncoding.EncodeToString([]byte(`{"t":"` + sampleTunnel + `","s":"c2VjcmV0"}`)), "account is missing"},
		"no tunnel":     {base64.StdEncoding.EncodeToString([]byte(`{"a":"abc","s":"c2VjcmV0"}`)), "id is missing"},
		"no secret":     {base64.StdEncoding.EncodeToString([]byte(`{"a":"abc","t":"` + sampleTunnel + `"}`)), "secret is missing"},
		"nothing":       {"", "no tunnel"},
		"another thing": {base64.StdEncoding.EncodeToString([]byte(`[]`)), "no tunnel"},
	} {
		if _, err := tunnel.ParseToken(tt.token); err == nil || !strings.Contains(err.Error(), tt.says) || tt.token != "" && strings.Contains(err.Error(), tt.token) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseFile(t *testing.T) {
	got, err := tunnel.ParseFile([]byte(`{"AccountTag":"abc","TunnelSecret":"c2VjcmV0","TunnelID":"` + sampleTunnel + `","Endpoint":""}`))
	want := tunnel.Credentials{Account: "abc", Tunnel: uuid.MustParse(sampleTunnel), Secret: "secret"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := tunnel.ParseFile([]byte(`{"TunnelID":"` + sampleTunnel + `"}`)); err == nil || !strings.Contains(err.Error(), "account is missing") {
		t.Error(err)
	}
	if _, err := tunnel.ParseFile([]byte("eyJh")); err == nil {
		t.Error("a token is no file")
	}
}
