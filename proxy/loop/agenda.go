//go:build linux

package loop

import "slices"

// agenda is which streams of a connection that speaks HTTP/2 have something to do. While
// the codec reads, its input stands in the loop's buffer; so streams only note what happens
// to them, and go on afterwards.
type agenda struct {
	active  []member // to which something has happened; nil for those that have left
	blocked []member // that wait for room
}

// member is a stream of an agenda.
type member interface {
	listed() *entry
	goOn() // after something has happened
}

// entry is in which lists of its agenda a stream is.
type entry struct{ active, blocked bool }

func (e *entry) listed() *entry { return e }

// activate makes a stream go on when goOn is called.
func (a *agenda) activate(m member) {
	if e := m.listed(); !e.active {
		e.active = true
		a.active = append(a.active, m)
	}
}

// block has a stream wait for room.
func (a *agenda) block(m member) {
	if e := m.listed(); !e.blocked {
		e.blocked = true
		a.blocked = append(a.blocked, m)
	}
}

// unblock activates the streams that wait for room.
func (a *agenda) unblock() {
	for i, m := range a.blocked {
		a.blocked[i] = nil
		m.listed().blocked = false
		a.activate(m)
	}
	a.blocked = a.blocked[:0]
}

// goOn lets the active streams go on, those too that become active meanwhile.
func (a *agenda) goOn() {
	for i := 0; i < len(a.active); i++ {
		if m := a.active[i]; m != nil {
			a.active[i] = nil
			m.listed().active = false
			m.goOn()
		}
	}
	a.active = a.active[:0]
}

// leave forgets a stream that has ended.
func (a *agenda) leave(m member) {
	e := m.listed()
	if e.active {
		a.active[slices.Index(a.active, m)] = nil
	}
	if e.blocked {
		a.blocked = slices.DeleteFunc(a.blocked, func(other member) bool { return other == m })
	}
	*e = entry{}
}
