// Package address makes addresses reachable on a local network: of all replicas
// exactly one has an address on its interface and announces it, and when that one
// goes away another takes over in less than two seconds.
//
//	announcer.go    what is wanted, and what became of it
//	session.go      the loop on one interface: beats, frames, the link
//	succession_linux.go  processes of one node that follow each other
//	election.go     who is who, and when
//	entry.go        what becomes of one address here
//	conflict.go     what other hosts do with it
//	answer.go       what is said of it
//	peer.go         which other replicas there are, and which one shall hold an address
//	heartbeat.go    the frame by which replicas know of each other
//	arp.go          probes and announcements for IPv4 (RFC 5227)
//	neighbor.go     the same for IPv6 (RFC 4861, RFC 4862)
//	wire_linux.go   packet sockets
//	kernel_linux.go addresses of an interface
//
// # Who holds an address
//
// Every beatInterval a replica broadcasts a frame with the addresses that it wants
// and holds. Of the replicas that are heard and want an address the one with the
// highest hash of its name and the address (rendezvous hashing) shall hold it. It
// takes the address when no replica that is heard holds it and nobody answers to
// probes for it.
//
// # Never two
//
// The kernel gets an address for a lifetime of one second, which is renewed before
// every beat. So it goes away without its owner, which may have crashed or be
// frozen. The others wait for deadAfter, which is longer, and probe: as long as the old
// owner's kernel still answers they do not take over.
//
//	owner   beat ── beat ── †   kernel removes the address: ≤ 1.25 s after the last beat
//	others                      probes from 1.1 s after it on, announcement at 1.4 s
//
// So the local network itself, on which two owners would be seen, is what decides,
// and not the Kubernetes API: addresses stay when the API server is away.
//
// # Processes of one node
//
// To the others the processes of a node are one replica. The one that has the seat (package
// succession) is the only one that touches the interface. An address that it finds there
// with our short lifetime is still the node's: it renews it and goes on, without probes. One
// that ends takes its addresses away only if no other process of the node waits.
package address
