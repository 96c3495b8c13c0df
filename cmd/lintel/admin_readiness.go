package main

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/lintel-dev/lintel/internal/succession"
)

// readiness says whether traffic may come: once the objects were read and the
// wanted sockets opened, and until the program drains. One socket that can't be
// opened does not make the others useless, so it counts only when no other is
// open. A replica of another user counts, too, which serves with the socket until it ends,
// and ends when we are ready. The zero readiness waits for the first sync. Its methods are safe for
// concurrent use.
type readiness struct {
	mu       sync.Mutex
	synced   bool
	sockets  map[string]error
	draining bool
	remarks  string // lines that a person wants to know
	tell     func() // as whenReady has it; nil once it was called
}

// set tells what the wanted sockets answered, by name: nil when open, or why not.
// The first call marks the first sync. The map is read-only from then on.
func (r *readiness) set(sockets map[string]error) {
	r.mu.Lock()
	r.synced, r.sockets = true, sockets
	var tell func()
	if ready, _ := r.read(); ready {
		tell, r.tell = r.tell, nil
	}
	r.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// whenReady has tell called when traffic may come for the first time.
func (r *readiness) whenReady(tell func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = tell
}

// remark adds a line to what a person wants to know.
func (r *readiness) remark(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remarks += line + "\n"
}

// drain ends readiness for good.
func (r *readiness) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

// state returns whether we are ready, and what a person wants to know about it:
// the reason why not, or else "ok", the sockets that failed, a line each, and remarks.
func (r *readiness) state() (ready bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read()
}

// read is state for who holds mu.
func (r *readiness) read() (ready bool, text string) {
	switch {
	case r.draining:
		return false, "draining\n"
	case !r.synced:
		return false, "waiting for the first sync\n"
	}
	served := 0
	for _, name := range slices.Sorted(maps.Keys(r.sockets)) {
		err := r.sockets[name]
		if err != nil {
			text += "socket " + name + ": " + err.Error() + "\n"
		}
		if err == nil || errors.Is(err, succession.ErrOtherUser) {
			served++
		}
	}
	if served == 0 && len(r.sockets) > 0 {
		return false, "no socket could be opened\n" + text
	}
	return true, "ok\n" + text + r.remarks
}
