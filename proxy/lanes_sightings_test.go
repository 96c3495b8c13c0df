//go:build linux

package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// sightings are what was seen of the lanes in all tries.
type sightings struct {
	of    [2][]*passage
	reset bool // what a client got may have been lost
	race  bool // which of two things was there first decides about all else
}

func (s *sightings) add(lane int, p *passage) {
	s.of[lane] = append(s.of[lane], p)
	s.reset = s.reset || p.reset
}

// agree reports whether the lanes did the same once, or need not.
func (s *sightings) agree() bool {
	if s.race {
		return !s.hang()
	}
	for _, p := range s.of[0] {
		for _, other := range s.of[1] {
			if p.like(other) && (s.reset || p.endsLike(other)) {
				return true
			}
		}
	}
	return false
}

// hang reports whether something took too long in each try of a lane.
func (s *sightings) hang() bool {
	for _, lane := range s.of {
		if !slices.ContainsFunc(lane, func(p *passage) bool { return !p.hangs() }) {
			return true
		}
	}
	return false
}

func (s *sightings) String() string {
	var b strings.Builder
	for i, name := range laneNames {
		var all []string
		for _, p := range s.of[i] {
			all = append(all, p.String())
		}
		slices.Sort(all)
		for _, p := range slices.Compact(all) {
			fmt.Fprintf(&b, "%s lane:\n%s", name, p)
		}
	}
	return b.String()
}

// stale matches an answer after which the upstream connection ends, though nothing said
// so before: a request that follows may or may not find it open.
var (
	stale = regexp.MustCompile(`\^[csrz]`)
	early = regexp.MustCompile(`\^h`)
)

var (
	attempts = regexp.MustCompile(`attempts \d+`)
	received = regexp.MustCompile(`received \d+`)
)

// cutAnywhere reports whether an input is sent in more than one piece.
func cutAnywhere(how byte) bool {
	cut := how & cutMask
	return cut != cutNot && cut != cutNotSilent
}

// races reports whether an answer that is sent before the end of the request, or the next piece
// of the body, may be there first.
func races(script string, how byte) bool { return cutAnywhere(how) && early.MatchString(script) }

// failsBehindHead reports whether a request failed when the endpoint had its head.
func (p *passage) failsBehindHead() bool {
	return slices.ContainsFunc(p.answered, func(x Report) bool {
		return x.Upstream.IsValid() && x.Cause != exchange.CauseNone
	})
}

// forget takes out what depends on timing with this script.
func (p *passage) forget(script string, how byte) {
	if p.partial = races(script, how); !p.partial { // else the answer may end the exchange amid the body
		p.upstream = slices.DeleteFunc(p.upstream, func(got string) bool { return strings.HasSuffix(got, unended) })
	}
	ends := stale.MatchString(script)
	met := p.shared && p.failsBehindHead() // a request may meet the end of the connection that another has ended
	if met || ends && (how&unpooled == 0 || p.shared || early.MatchString(script)) {
		p.upstream = nil
		for i := range p.reports {
			p.reports[i] = attempts.ReplaceAllString(p.reports[i], "attempts")
		}
	}
	if cutAnywhere(how) && p.end == resetEnd {
		p.end, p.reset = orderlyEnd, true // as a piece came that was not read
	}
	for i := range p.reports {
		x := &p.answered[i]
		left := ends && cutAnywhere(how) && x.Status == http.StatusSwitchingProtocols   // by who still talked
		if early.MatchString(script) || left || x.Cause == exchange.CauseBodyTooLarge { // by as much as one read brings
			p.reports[i] = received.ReplaceAllString(p.reports[i], "received")
		}
	}
}
