package router

import "slices"

// A request finds its Rule in four steps, each one look-up or one walk:
//
//  1. its socket, by name: one map look-up;
//  2. the most specific Listener of that socket for its host, and no other
//     (listener isolation, GEP-1713);
//  3. the hostnames of that Listener that match its host, the most specific
//     first (hosts.go): a map look-up for the host as a whole and one for each of
//     its suffixes that is no longer than the longest wildcard;
//  4. the path tree of each hostname (tree.go): one walk down the path.
//
// The first Rule found answers. With h hostnames and a path of n bytes the cost is
// O(labels + n), whatever h is; a request cannot make it grow, because suffixes and
// path elements are read only as far as the configuration has names for them.
//
// Compile costs O(rules log rules) for the hosts that changed and a few map
// operations for each that did not: those keep their trees.

// HostRules are the Rules of one hostname, the unit in which a Table is compiled
// and in which trees are kept from one Table to the next. Hostnames are in lower
// case.
type HostRules struct {
	// Socket names the listening socket, as in the Plan's listeners (":80").
	Socket string
	// ListenerHost is the hostname of the Listener: "" for any, "example.com" or
	// "*.example.com". A request belongs to the most specific Listener of its
	// socket alone, even if no Rule there matches (listener isolation, GEP-1713).
	ListenerHost string
	// Host is the hostname that the Route names, in the same forms.
	Host string
	// OneLabel makes a wildcard Host match exactly one label, as Ingress has it;
	// Gateway API's wildcards match one or more.
	OneLabel bool
	// Rules in any order; Compile sorts them by precedence. None at all still makes
	// the Listener known, so that its requests do not fall to a less specific one.
	Rules []*Rule
	// Auths are asked about every request of the Listener, in their order, before it is
	// matched (GEP-5224). Those of one HostRules of a Listener count for all.
	Auths []*ExternalAuth
}

// Table holds every Rule. It is immutable and safe for concurrent use. The zero
// Table matches nothing.
type Table struct {
	sockets map[string]*listeners
	special map[string]bool // sockets with a Rule that is not plain, or with Auths
	asking  bool            // some Listener has Auths
	streams map[string]*streamListeners
}

// listeners are those of one socket, by hostname.
type listeners = hostIndex[listener]

// listener holds the hostnames of one Listener.
type listener struct {
	hosts hostIndex[host]
	auths []*ExternalAuth
}

// host is one hostname of a Listener.
type host struct {
	// only is the one Rule, if that takes every request for the host; nil otherwise. Most
	// hosts have one, and with thousands of them each look at more memory is one that no
	// cache has.
	only  *Rule
	given []*Rule // in the order in which Compile got them
	tree  *pathTree
}

// Compile makes a Table. A host whose Rules are the same pointers as in previous
// keeps its tree; previous may be nil. HostRules that differ in nothing but their
// Rules are taken as one.
func Compile(hosts []HostRules, previous *Table) *Table {
	if previous == nil {
		previous = &Table{}
	}
	t := &Table{sockets: make(map[string]*listeners, len(previous.sockets)), special: map[string]bool{}}
	all := make([]host, 0, len(hosts)) // never grows: the indexes point into it
	was := make([]*host, 0, len(hosts))
	for i := range hosts {
		h := &hosts[i]
		if slices.ContainsFunc(h.Rules, func(r *Rule) bool { return !r.Action.Plain() }) {
			t.special[h.Socket] = true
		}
		l, wasListener := t.listener(h, previous)
		if len(h.Auths) > 0 {
			l.auths, t.special[h.Socket], t.asking = h.Auths, true, true
		}
		name := hostName{h.Host, h.OneLabel}
		if same := l.hosts.get(name); same != nil {
			same.given = slices.Concat(same.given, h.Rules)
			continue
		}
		all = append(all, host{given: h.Rules})
		l.hosts.put(name, &all[len(all)-1])
		was = append(was, wasListener.hosts.get(name))
	}
	for i := range all {
		all[i].compile(was[i])
	}
	return t
}

// listener returns the Listener of h, made if needed, and what it was in previous.
func (t *Table) listener(h *HostRules, previous *Table) (now, was *listener) {
	name := hostName{host: h.ListenerHost}
	wasSocket := previous.sockets[h.Socket]
	if wasSocket == nil {
		wasSocket = &listeners{}
	}
	if was = wasSocket.get(name); was == nil {
		was = &listener{}
	}
	socket := t.sockets[h.Socket]
	if socket == nil {
		socket = newHostIndex(wasSocket)
		t.sockets[h.Socket] = socket
	}
	if now = socket.get(name); now == nil {
		now = &listener{hosts: *newHostIndex(&was.hosts)}
		socket.put(name, now)
	}
	return now, was
}

// compile makes the tree of h, or takes that of was (nil for a new host).
func (h *host) compile(was *host) {
	if was != nil && slices.Equal(h.given, was.given) {
		*h = *was
		return
	}
	h.given = slices.Clone(h.given) // the caller may reuse its slice
	paths := sortPaths(h.given)
	if was != nil && slices.EqualFunc(paths, was.tree.rules, func(p compiledPath, r *Rule) bool { return p.rule == r }) {
		h.tree, h.only = was.tree, was.only
		return
	}
	h.tree = newPathTree(paths)
	if len(paths) == 1 && paths[0].takesAll() {
		h.only = paths[0].rule
	}
}

// Match returns the Rule for a request that came in on socket, or nil when
// there is none. It locks nothing, and allocates only where an expression must
// read a value that is not in one piece: a field of several lines, or a query
// parameter with escapes.
func (t *Table) Match(socket string, r *Request) *Rule {
	s := t.sockets[socket]
	if s == nil {
		return nil
	}
	for l := range s.candidates(r.Host) {
		return l.match(r) // the first alone: Listeners are isolated
	}
	return nil
}

// Auths returns those that are asked about a request for a host that came in on socket,
// before it is matched: those of its Listener, in their order.
func (t *Table) Auths(socket, host string) []*ExternalAuth {
	if !t.asking {
		return nil
	}
	s := t.sockets[socket]
	if s == nil {
		return nil
	}
	if l := s.first(host); l != nil {
		return l.auths
	}
	return nil
}

// Plain reports whether the actions of all Rules of a socket are plain, see
// [Action.Plain], and no Listener of it asks about requests.
func (t *Table) Plain(socket string) bool { return !t.special[socket] }

// match tries the hostnames from the most specific to the least.
func (l *listener) match(r *Request) *Rule {
	for h := range l.hosts.candidates(r.Host) {
		if h.only != nil {
			return h.only
		}
		if rule := h.tree.match(r); rule != nil {
			return rule
		}
	}
	return nil
}
