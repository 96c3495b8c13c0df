// Package proxy is the data plane: every client socket and every upstream
// socket. A [Server] owns them; what it does with a request stands in the
// [router.Table] that [Server.Apply] gives it.
//
// This is the full lane: blocking code, with a goroutine for each exchange. HTTP/1.1
// has one for its connection, and a second one only while a request body is being
// forwarded or an upgraded connection is being relayed; a connection that speaks HTTP/2
// has one more that reads it. express.go gives the loops of package loop what they can
// serve, and takes back what they cannot.
//
// An exchange goes through the files in this order: socket.go accepts,
// connection.go reads the head, flight.go decides, forward.go attempts
// upstreams, requestbody.go writes there, response.go brings the answer back,
// upgrade.go relays what follows a 101. A flight stands between two sides (sides.go),
// one implementation for each protocol: h1*.go, h2*.go, and served*.go for what libraries
// have read, which come by h3*.go and entry.go. What all of it means,
// and what is forwarded and told, is package exchange's.
//
// Connections that are not HTTP are streams: hello.go finds out whose one over TLS is,
// stream.go serves it, streamupstream.go connects it and streamrelay.go relays it.
// Datagrams are those of a socket (datagram.go) and of sessions (session.go).
package proxy
