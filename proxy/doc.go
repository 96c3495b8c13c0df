// Package proxy is the data plane: every client socket and every upstream
// socket. A [Server] owns them; what it does with a request stands in the
// [router.Table] that [Server.Apply] gives it.
//
// This is the full lane: blocking code, one goroutine per downstream
// connection, and a second one only while a request body is being forwarded or
// an upgraded connection is being relayed.
//
// An exchange goes through the files in this order: socket.go accepts,
// connection.go reads the head, flight.go decides, forward.go attempts
// upstreams, requestbody.go writes there, response.go brings the answer back,
// upgrade.go relays what follows a 101. What all of it means, and what is forwarded
// and told, is package exchange's.
package proxy
