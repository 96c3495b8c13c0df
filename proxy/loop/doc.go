// Package loop is the express lane of the data plane: an event loop per core that
// moves plain exchanges with non-blocking system calls and no goroutine of their own.
// Clients speak HTTP/1.1 or HTTP/2, in the clear or over TLS 1.3; endpoints either in the
// clear. What an exchange means comes from package exchange
// and the bytes from packages h1, h2 and tls13, as in the full lane, so that nobody
// outside can tell which lane a request took.
//
// A [Group] owns the loops. One of them accepts what comes to a listening socket
// ([Group.Listen]); the data plane counts it, and gives it to [Group.Serve]. A loop does
// the handshake of TLS and serves the connection until it ends, or until a request comes
// over HTTP/1.1 that needs more than a loop can do: an upgrade, CONNECT,
// Expect: 100-continue, or a Rule that is not plain. Then, before anything of the
// request is used up, the connection goes to [Socket.HandOver] with all its unread
// bytes, and does not come back. Of a connection that was upgraded, a loop relays the
// bytes: see [Group.Relay]. A stream cannot leave its connection: HTTP/2 is served only on
// sockets all of whose Rules are plain, with its WebSockets (tunnel.go). Elsewhere the
// connection goes after the handshake, or the preface (preface.go).
//
// # One turn
//
// A loop asks epoll what is ready, reads its mailbox, lets each connection go as far
// as it can, continues those that have used up their budget in the turn before, looks at
// its timer wheel, sends what has gathered meanwhile, if not before (gather.go), and lets
// handshakes go on. It reads the clock once a turn, and between handshakes. Only when nothing
// is ready does it wait in the kernel: after a while without events by a call that the Go
// scheduler knows of. While handshakes take much of its time it rests before it waits, so that
// it is woken for many events at once (effort.go). One goroutine runs a loop and alone touches
// its connections: there are no locks but those of the mailbox and of commons.go.
//
// Descriptors are registered edge-triggered, once, for everything: no epoll_ctl in
// an exchange. So a connection remembers what it may do (readable, writable) until
// the kernel says EAGAIN.
//
// # Handshakes
//
// crypto/tls does them, in code that blocks when it has to wait. It runs on coroutines: a
// read that finds nothing gives the loop its turn back, and epoll says when to go on. So a
// handshake needs no goroutine that the scheduler would have to wake, nor a second poller.
// A step of one takes a hundred times what an exchange does: the loop does some in a turn,
// and lets the others wait (handshake.go). What a session can't go on with, such as TLS 1.2,
// and HTTP/2 where it is not plain, leaves by [Socket.TakeOver].
//
// # Memory
//
// An idle connection has no buffer and no exchange: both are borrowed with the
// first byte of a request and given back after the response. Bodies pass through
// one buffer of the loop; what the kernel does not take waits in a borrowed one,
// and while something waits the other side is not read. Large bodies of known
// length do not pass through us at all (splice.go).
//
// Files: group.go and api.go what others call; loop.go the turn; poller.go, wheel.go,
// mailbox.go, queue.go, buffer.go, socket.go the engine room; listener.go accepts; conn.go is a
// descriptor and what waits for it, gather.go what is sent together; handshake.go,
// coroutine.go and secure.go its TLS, effort.go how much of the time handshakes take.
// flight.go, forward.go, body.go, response.go, expiry.go, splice.go are one exchange;
// client.go says what that needs of its client: downstream.go, h1body.go, h1response.go
// for HTTP/1.1, and mux.go, stream.go, tunnel.go for HTTP/2. server.go says what it needs
// of the other side: upstream.go and pool.go for HTTP/1.1, with commons.go for endpoints
// that have a limit of connections, and call.go, trunk.go, trunks.go for HTTP/2. outflow.go
// is what both sides of HTTP/2 write, agenda.go which of their streams have something to do,
// grpcweb.go translates between the protocols, and relay.go is upgraded connections. other.go
// stands in on other systems than Linux.
package loop
