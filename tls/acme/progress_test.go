package acme

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

func TestWaitsGrow(t *testing.T) {
	b := Backoff{}.orDefault()
	for failures, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 5: 16 * time.Minute, 9: 4 * time.Hour, 100: 4 * time.Hour} {
		if got := b.wait(failures); got < want || got > want+want/10 {
			t.Errorf("after %d failures %v, want %v and up to a tenth", failures, got, want)
		}
	}
}

func TestNextAttempt(t *testing.T) {
	b := Backoff{First: time.Minute, Most: time.Hour}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	i := &issuer{Issuer: Issuer{Directory: "https://ca.test"}}
	failed := func(times int, comeBack time.Duration) *progress {
		p := &progress{}
		for range times {
			p.begin(at, "before")
			f := failure{message: "no", at: at, directory: i.Directory}
			if comeBack > 0 {
				f.comeBack = at.Add(comeBack)
			}
			p.fail(f, b)
		}
		return p
	}
	cutOff := func(times int) *progress {
		p := &progress{}
		for range times {
			p.begin(at, "before")
		}
		return p
	}
	givenUp := cutOff(1)
	givenUp.URL = "https://ca.test/order"
	otherCA := failed(1, 6*time.Hour)
	otherCA.Directory = "https://other.test"
	for _, tc := range []struct {
		name        string
		p           *progress
		print       string
		least, most time.Duration // after at; 0 for at once
	}{
		{"nothing happened", &progress{}, "before", 0, 0},
		{"cut off once", cutOff(1), "before", 0, 0},
		{"cut off twice", cutOff(2), "before", 0, 0},
		{"cut off again and again", cutOff(4), "before", 2 * time.Minute, 2 * time.Minute},
		{"cut off once, and another leader", givenUp, "before", 0, 0},
		{"given up for something else", givenUp, "after", 10 * time.Second, 10 * time.Second},
		{"one failure", failed(1, 0), "before", time.Minute, 66 * time.Second},
		{"three failures", failed(3, 0), "before", 4 * time.Minute, 264 * time.Second},
		{"many failures", failed(50, 0), "before", time.Hour, 66 * time.Minute},
		{"other settings", failed(50, 0), "after", 10 * time.Second, 10 * time.Second},
		{"the CA asked for more", failed(1, 6*time.Hour), "before", 6 * time.Hour, 6 * time.Hour},
		{"the CA asked for less", failed(3, time.Second), "before", 4 * time.Minute, 264 * time.Second},
		{"the CA asked for more, other settings", failed(1, 6*time.Hour), "after", 6 * time.Hour, 6 * time.Hour},
		{"another CA asked for more", otherCA, "after", 10 * time.Second, 10 * time.Second},
		{"the CA asked for the impossible", failed(1, 10000*time.Hour), "before", 7 * 24 * time.Hour, 7 * 24 * time.Hour},
	} {
		got := tc.p.retry(tc.print, i, b)
		if tc.most == 0 {
			if !got.IsZero() {
				t.Errorf("%s: %v", tc.name, got)
			}
			continue
		}
		if wait := got.Sub(at); wait < tc.least || wait > tc.most {
			t.Errorf("%s: after %v, want %v to %v", tc.name, wait, tc.least, tc.most)
		}
	}
	ahead := failed(1, 0)
	if ahead.turnBack(at.Add(time.Minute)) {
		t.Error("a failure of the past was moved")
	}
	if now := at.Add(-1000 * time.Hour); !ahead.turnBack(now) || ahead.retry("before", i, b).After(now.Add(2*time.Minute)) {
		t.Error("a clock set back makes the wait endless")
	}
}

func TestWords(t *testing.T) {
	problem := acme.Problem{Type: acme.ProblemTypeNamespace + "rejectedIdentifier", Status: 400, Detail: "the  CA's\nown words"}
	problem.Subproblems = []acme.Subproblem{{Problem: acme.Problem{Detail: "policy"}, Identifier: acme.Identifier{Type: "dns", Value: "a.test"}}}
	dead := acme.Problem{Detail: "no such host", Resource: acme.Authorization{Wildcard: true, Identifier: acme.Identifier{Type: "dns", Value: "a.test"}}}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("order: %w", problem), "the CA refused: the CA's own words; a.test: policy (rejectedIdentifier, HTTP 400)"},
		{deadOrder{&problem}, "the CA refused: the CA's own words; a.test: policy (rejectedIdentifier, HTTP 400)"},
		{deadOrder{fmt.Errorf("wait: %w", dead)}, "the CA refused *.a.test: no such host"},
		{&clockError{ahead: -90 * time.Minute}, "the clock of this machine is 1h30m0s behind that of the CA: set it"},
		{errors.New("plain"), "plain"},
	} {
		if got := words(tc.err); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	if got := words(errors.New(strings.Repeat("long ", 1000))); len(got) > maxWords+len("…") {
		t.Errorf("%d bytes", len(got))
	}
}
