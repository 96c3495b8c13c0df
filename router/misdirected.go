package router

// Misdirected reports whether a request for host belongs to another Listener of its socket
// than the TLS connection that it came by, whose client named serverName: that Listener
// alone has decided about the connection (RFC 9110 §15.5.20, Gateway API's
// Listener.hostname). Both names are as [NormalizeHost] gives them.
//
// A request that belongs to no Listener is not misdirected: nothing would take it on
// another connection. Without a server name a connection belongs to the Listener without
// a hostname; where there is none it belongs to nobody, and is good for every host.
func (t *Table) Misdirected(socket, serverName, host string) bool {
	s := t.sockets[socket]
	if s == nil || serverName == host {
		return false
	}
	wants, has := s.first(host), s.first(serverName)
	if wants == nil || has == nil && serverName == "" {
		return false
	}
	return wants != has
}

// first returns the value of the most specific pattern that matches host, or nil.
func (x *hostIndex[T]) first(host string) *T {
	for v := range x.candidates(host) {
		return v
	}
	return nil
}
