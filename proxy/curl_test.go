package proxy

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// What curl speaks is understood, when there is a curl.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl")
	}
	for _, test := range []struct {
		mode    mode
		option  string
		version string
	}{
		{plainMode, "--http1.1", "1.1"},
		{h2cMode, "--http2-prior-knowledge", "2"},
		{tlsMode, "--http1.1", "1.1"},
		{h2Mode, "--http2", "2"},
	} {
		run(t, []mode{test.mode}, Settings{}, func(t *testing.T, g *gateway) {
			g.route("/", upstreamMode{protocol: router.H2C}.serve(t, echo))
			g.apply()
			_, port, _ := strings.Cut(g.address(), ":")
			out, err := exec.CommandContext(t.Context(), curl, "-sk", test.option, "--connect-to", "::127.0.0.1:"+port,
				"-X", http.MethodPost, "-d", "hello", "-w", " over %{http_version}", g.url("/")).CombinedOutput()
			if want := "hello over " + test.version; err != nil || string(out) != want {
				t.Errorf("%s: %q, %v", test.option, out, err)
			}
		})
	}
}
