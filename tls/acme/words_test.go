package acme

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mholt/acmez/v3/acme"
)

func TestReasonOfFailure(t *testing.T) {
	for want, err := range map[string]error{
		"rateLimited": fmt.Errorf("order: %w", acme.Problem{Type: acme.ProblemTypeNamespace + "rateLimited"}),
		"other":       errors.Join(errors.New("no such host")),
	} {
		if got := reason(err); got != want {
			t.Errorf("%v: %q", err, got)
		}
	}
	if got := reason(acme.Problem{Type: acme.ProblemTypeNamespace + "made up"}); got != "other" {
		t.Errorf("a type of the CA's own: %q", got)
	}
}
