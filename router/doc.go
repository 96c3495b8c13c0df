// Package router is the immutable routing table of the gateway and everything
// that a request needs from it: which [Rule] answers, which Backend and which
// Endpoint take it, and how its path, fields and Location change. It does no I/O.
//
//	names    path.go, hostname.go           one spelling for each path and host
//	table    table.go, hosts.go             socket, Listener and hostname → path tree
//	tree     tree.go, precedence.go, condition.go  path, method, headers, query → Rule
//	filters  fields.go, redirect.go         what a Rule changes
//	choice   action.go, backend.go, endpoint.go    weighted Backend, least busy Endpoint
//	upstream settings.go, transport.go      how a Backend is used
package router
