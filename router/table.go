package router

// HostRules are the Rules of one hostname, the unit in which a Table is compiled
// and in which trees are kept from one Table to the next.
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
	// Rules in any order; Compile sorts them by precedence.
	Rules []*Rule
}

// Table holds every Rule. It is immutable and safe for concurrent use.
type Table struct{}

// Compile makes a Table. A host whose Rules are the same pointers as in previous
// keeps its tree; previous may be nil.
func Compile(hosts []HostRules, previous *Table) *Table { panic("to be written") }

// Match returns the Rule for a request that came in on socket, or nil when
// there is none. It neither allocates nor locks.
func (t *Table) Match(socket string, r *Request) *Rule { panic("to be written") }
