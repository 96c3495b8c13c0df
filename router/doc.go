// Package router is the immutable routing table of the gateway and everything
// that a request needs from it: which [Rule] answers, which Backend and which
// Endpoint take it, and how its path, fields and Location change. It does no I/O.
//
//	names    path.go, hostname.go           one spelling for each path and host
//	table    table.go, hosts.go             socket, Listener and hostname → path tree
//	tree     tree.go, precedence.go, condition.go  path, method, headers, query → Rule
//	filters  fields.go, redirect.go         what a Rule changes
//	choice   action.go, pick.go, hash.go    weighted Backend; least busy Endpoint, or that of a key
//	upstream backend.go, endpoint.go        a Service port and its addresses
//	         settings.go, transport.go      how they are spoken to
//	         outlier.go, slowstart.go, circuit.go  when they are spared
package router
