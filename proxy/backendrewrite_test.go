package proxy

import (
	"io"
	"net/http"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// The rewrite of a Backend takes the place of its Rule's.
func TestBackendRewrite(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		app := httpBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+" "+r.RequestURI) })
		rule := g.route("/prefix", app)
		rule.Action.Backends[0].Rewrite = &router.Rewrite{
			Hostname: "inner.test", Path: router.PathModifier{Kind: router.ReplacePrefix, Value: "/new"},
		}
		both := g.route("/both", app, app)
		both.Action.Rewrite = &router.Rewrite{Hostname: "outer.test"}
		both.Action.Backends[0].Weight = 0
		both.Action.Backends[1].Rewrite = &router.Rewrite{Path: router.PathModifier{Kind: router.ReplaceFullPath, Value: "/full"}}
		g.apply()
		for path, want := range map[string]string{"/prefix/a?b": "inner.test /new/a?b", "/both/a": "app.test /full"} {
			if _, got := g.get(path); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	})
}
