package nearest

import "testing"

func TestOf(t *testing.T) {
	known := []string{"httpPort", "httpsPort", "logLevel"}
	for word, want := range map[string]string{
		"httpPort": "httpPort", "htpPort": "httpPort", "HTTPSPORT": "httpsPort", "loglevel": "logLevel", "verbose": "", "": "",
	} {
		if got := Of(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
