package acme

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// maxWords bounds a message: CAs and proxies before them answer with whole pages.
const maxWords = 1000

// words tells people of a failure, in the CA's own words where it was the CA's.
func words(err error) string {
	text := err.Error()
	if problem, ok := problemOf(err); ok {
		text = problemWords(problem)
	} else if clock, ok := errors.AsType[*clockError](err); ok {
		text = clock.Error() // in whichever request it was seen
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}

// problemOf finds the CA's problem document (RFC 7807) in a chain of errors.
func problemOf(err error) (acme.Problem, bool) {
	if value, ok := errors.AsType[acme.Problem](err); ok {
		return value, true
	}
	if pointer, ok := errors.AsType[*acme.Problem](err); ok && pointer != nil {
		return *pointer, true
	}
	return acme.Problem{}, false
}

func problemWords(p acme.Problem) string {
	var b strings.Builder
	b.WriteString("the CA refused")
	if authorization, ok := p.Resource.(acme.Authorization); ok {
		fmt.Fprintf(&b, " %s", authorization.IdentifierValue())
	}
	detail := p.Detail
	if detail == "" {
		detail = p.Title
	}
	fmt.Fprintf(&b, ": %s", detail)
	for _, sub := range p.Subproblems {
		fmt.Fprintf(&b, "; %s: %s", sub.Identifier.Value, sub.Detail)
	}
	kind := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	switch {
	case kind != "" && p.Status != 0:
		fmt.Fprintf(&b, " (%s, HTTP %d)", kind, p.Status)
	case kind != "":
		fmt.Fprintf(&b, " (%s)", kind)
	}
	return b.String()
}

// clockError says that this machine's clock and the CA's differ too much to order:
// every certificate would look expired, or not valid yet, and be ordered again.
type clockError struct{ ahead time.Duration }

func (e *clockError) Error() string {
	if e.ahead < 0 {
		return fmt.Sprintf("the clock of this machine is %v behind that of the CA: set it", (-e.ahead).Round(time.Minute))
	}
	return fmt.Sprintf("the clock of this machine is %v ahead of that of the CA: set it", e.ahead.Round(time.Minute))
}

// reason is the type of the CA's problem that a failure is, without its namespace, and
// "other" for what no CA said, or for a type that is not known.
func reason(err error) string {
	problem, _ := problemOf(err)
	kind, ours := strings.CutPrefix(problem.Type, acme.ProblemTypeNamespace)
	known := []string{
		"accountDoesNotExist", "alreadyReplaced", "badCSR", "badNonce", "badPublicKey", "badRevocationReason", "badSignatureAlgorithm", "caa",
		"compound", "connection", "dns", "externalAccountRequired", "incorrectResponse", "invalidContact", "invalidProfile", "malformed",
		"orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "tls", "unauthorized", "unsupportedContact",
		"unsupportedIdentifier", "userActionRequired",
	}
	if !ours || !slices.Contains(known, kind) {
		return "other"
	}
	return kind
}
