// Package gateway translates Gateway API and Ingress objects into what the
// gateway does. [Build] is a pure function from a [Snapshot] to a [Plan]: no I/O,
// no clock, no goroutine, no log. It never fails: a user's mistake becomes a
// condition of the object and a [Problem].
//
// The passes of a Build, one file or two each:
//
//	index   index.go                     look-ups over the Snapshot
//	classes class.go                     which GatewayClasses and IngressClasses are ours
//	listen  gateway.go, listener.go, conflict.go, certificate.go  Listeners, sockets and certificates
//	parse   httproute.go, filter.go      one Route alone; remembered by UID and generation
//	bind    attach.go, backend.go, rule.go  Routes to Listeners, BackendRefs to Backends
//	ingress ingress.go                   the same Rules from Ingress
//	shadow  shadow.go                    matches that never see a request
//	status  status.go, condition.go      conditions
package gateway
