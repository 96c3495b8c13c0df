package gateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/router"
)

// HTTPChallenge is what a CA that asks for a token by HTTP is answered (RFC 8555 §8.3).
type HTTPChallenge struct {
	Host, Token, KeyAuthorization string
}

// challengePath is where a CA asks for tokens.
const challengePath = "/.well-known/acme-challenge/"

// challengeLabel stands for Listener and Route in the Rules of challenges.
const challengeLabel = "ACME challenge"

// answerChallenges puts a Rule for each challenge on every plain HTTP socket, and that of tunnels. Its exact path
// under its exact host comes before whatever Routes and Ingresses say, redirects included.
func (b *build) answerChallenges() {
	challenges := slices.Clone(b.Observed.Challenges)
	slices.SortFunc(challenges, func(x, y HTTPChallenge) int {
		return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.Token, y.Token))
	})
	for _, c := range challenges {
		host := strings.ToLower(c.Host)
		rule := &router.Rule{
			Listener: challengeLabel, Route: challengeLabel,
			Match:  router.Match{Path: router.PathMatch{Kind: router.PathExact, Value: challengePath + c.Token}},
			Order:  router.Order{Created: createdFirst},
			Action: router.Action{Status: http.StatusOK, Body: c.KeyAuthorization},
		}
		for name, s := range b.sockets {
			if s.Protocol == router.SocketHTTP {
				b.addRules(hostKey{socket: name, listenerHost: b.listenerFor(name, host), host: host}, []*router.Rule{rule})
			}
		}
		for _, t := range b.tunnels {
			if name := t.plan.Plain; name != "" {
				b.addRules(hostKey{socket: name, listenerHost: b.listenerFor(name, host), host: host}, []*router.Rule{rule})
			}
		}
	}
}
