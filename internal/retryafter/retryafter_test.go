package retryafter

import (
	"net/http"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              -1,
		"soon":                          -1,
		"-1":                            -1,
		"99999999999":                   -1,
		"0":                             0,
		"120":                           2 * time.Minute,
		"Sun, 01 Mar 2026 13:00:00 GMT": time.Hour,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		header := http.Header{}
		if value != "" {
			header.Set("Retry-After", value)
		}
		if got, ok := Of(header, now); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %t, want %v", value, got, ok, want)
		}
	}
}
