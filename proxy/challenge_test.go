package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"
)

// A CA that asks for the certificate of a challenge gets a handshake, though clients have
// to show certificates, and nothing more: what it sends is not taken for a request.
func TestChallengeHandshake(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		if !g.mode.tls || g.mode.h3 {
			t.Skip("not TLS over TCP")
		}
		g.route("/").Action.Status = http.StatusNoContent
		g.demand(tls.RequireAndVerifyClientCert, newAuthority(t))
		conn, err := tls.Dial("tcp", g.address(), &tls.Config{ServerName: "app.test", NextProtos: []string{challengeProtocol}, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if p := conn.ConnectionState().NegotiatedProtocol; p != challengeProtocol {
			t.Errorf("protocol %q", p)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n") // it may be closed by now
		if answer, _ := io.ReadAll(conn); len(answer) > 0 || g.count() != 0 {
			t.Errorf("it was answered %q, and counted %d times", answer, g.count())
		}
		if _, err := tls.Dial("tcp", g.address(), &tls.Config{ServerName: "app.test", NextProtos: []string{"http/1.1", challengeProtocol}, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
			t.Error("a client without a certificate was let in")
		}
	})
}

// TestFixedBody has a Rule answer with a text of its own.
func TestFixedBody(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/token")
		rule.Action.Status, rule.Action.Body = http.StatusOK, "token.thumbprint"
		g.apply()
		for _, method := range []string{"GET", "HEAD"} {
			req, _ := http.NewRequest(method, g.url("/token"), nil)
			res, body := g.do(req)
			want := rule.Action.Body
			if method == "HEAD" {
				want = ""
			}
			if res.StatusCode != http.StatusOK || body != want || res.ContentLength != int64(len(rule.Action.Body)) && res.ProtoMajor == 1 {
				t.Errorf("%s: %d with %q, length %d", method, res.StatusCode, body, res.ContentLength)
			}
		}
	})
}
