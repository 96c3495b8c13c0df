// Package tunnel is a connector for Cloudflare Tunnel: it dials Cloudflare's edge, and
// serves what the edge sends through these connections. Nothing listens.
//
//	connector.go      which tunnels are wanted; one is replaced by the next without a gap
//	session.go        a tunnel with one set of credentials, and its connections
//	slot.go           one of these connections, again and again: dial, serve, wait
//	edge.go           where the edge is: DNS, DNS over TLS, or fixed addresses
//	addresses.go      which connection goes to which address
//	register.go       registration, and the configuration that the edge sends
//	http2.go quic.go  the two transports, and quic*.go what passes through the second
//
// # Protocol
//
// The schema of the registration and the framing of QUIC's streams come from the
// tunnelrpc packages of cloudflared; all else is ours. Over HTTP/2 the edge is the client
// on a connection that we have dialled: one request is the control stream, by which we
// register, and others are the requests of users, WebSockets and TCP streams, which the
// Handler serves on the connection itself. Over QUIC we
// open the control stream, and the edge opens a stream for each request, whose head we read
// for the Handler. There are no trailers over QUIC, so gRPC needs HTTP/2, which is the
// default; it costs less, too.
//
// # Connections
//
// A tunnel has four connections to four addresses in two regions, so that nothing at the
// edge that restarts takes it away. The first registers alone: what is wrong with
// credentials shows there once.
//
// A refusal that the edge calls permanent is tried again all the same, seldom: it is known
// to be said of tunnels that are seconds old. [Status] tells it from what passes.
package tunnel
