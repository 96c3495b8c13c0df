package address

import (
	"net/netip"
	"time"
)

// answers returns "" for an address that is announced, here or by another replica, or
// else why it cannot be used. One that is not decided is missing, unless it was a
// moment ago: an address that moves stays usable.
func (e *election) answers(now time.Time) map[netip.Addr]string {
	answers := make(map[netip.Addr]string, len(e.entries))
	for addr, entry := range e.entries {
		if answer, decided := e.answer(addr, entry); decided {
			entry.answer, entry.answered = answer, now
		}
		if !entry.answered.IsZero() && now.Sub(entry.answered) < settled {
			answers[addr] = entry.answer
		}
	}
	return answers
}

func (e *election) answer(addr netip.Addr, entry *entry) (text string, decided bool) {
	winner := e.winner(addr)
	switch {
	case entry.state == holding && !entry.seen.IsZero():
		return conflict(entry.rival), true
	case entry.state == holding || e.holder(addr) != "":
		return "", true
	case entry.state == conflicting || entry.state == unable && winner == "":
		return entry.reason, true
	case winner != "" && winner != e.name:
		c, _ := e.peers[winner].claim(addr)
		return conflict(c.rival), c.state == conflicting
	}
	return "", false
}
