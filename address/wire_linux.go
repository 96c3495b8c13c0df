package address

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

const (
	// maxFrame is longer than any frame that we read.
	maxFrame = 2048
	// readPause is waited after a failed read: an interface that is down fails each.
	readPause = 100 * time.Millisecond
	// receiveQueue holds a burst of frames while the loop works.
	receiveQueue = 64
)

// received is one frame that concerns us: a heartbeat, or a sighting.
type received struct {
	host      mac
	heartbeat *heartbeat
	sighting  sighting
}

func (r received) tell(e *election) {
	if r.heartbeat != nil {
		e.hear(*r.heartbeat, r.host, time.Now())
		return
	}
	e.sight(r.sighting, time.Now())
}

// wire sends and receives frames of an interface. Each protocol has a socket.
type wire struct {
	host     mac
	conns    map[int]*packet.Conn
	received chan received
	done     chan struct{}
	reading  sync.WaitGroup
}

// openWire opens the sockets of an interface and begins to read.
func openWire(link *net.Interface) (*wire, error) {
	w := &wire{conns: make(map[int]*packet.Conn), received: make(chan received, receiveQueue), done: make(chan struct{})}
	if copy(w.host[:], link.HardwareAddr) != len(w.host) {
		return nil, errors.New("announce addresses on " + link.Name + ": it has no Ethernet address; choose another interface (announce-interface)")
	}
	for _, protocol := range []struct {
		kind   int
		filter []bpf.RawInstruction
		read   func([]byte) (received, bool)
	}{
		{arpType, nil, readARP}, {ipv6Type, neighborFilter(), readNeighbor}, {heartbeatType, nil, readHeartbeat},
	} {
		conn, err := packet.Listen(link, packet.Raw, protocol.kind, &packet.Config{Filter: protocol.filter})
		if err != nil {
			w.close()
			return nil, explain("open packet socket on "+link.Name, err)
		}
		w.conns[protocol.kind] = conn
		w.reading.Go(func() { w.read(conn, protocol.read) })
	}
	return w, nil
}

func (w *wire) close() {
	close(w.done)
	for _, conn := range w.conns {
		_ = conn.Close() // nothing is buffered
	}
	w.reading.Wait()
}

func readARP(frame []byte) (received, bool) {
	s, ok := sightARP(frame)
	return received{sighting: s}, ok
}

func readNeighbor(frame []byte) (received, bool) {
	s, ok := sightNeighbor(frame)
	return received{sighting: s}, ok
}

func readHeartbeat(frame []byte) (received, bool) {
	if len(frame) < ethernetHead {
		return received{}, false
	}
	h, err := decodeHeartbeat(frame[ethernetHead:])
	return received{host: mac(frame[6:12]), heartbeat: &h}, err == nil
}

// read passes on what one socket receives, until it is closed.
func (w *wire) read(conn *packet.Conn, parse func([]byte) (received, bool)) {
	frame := make([]byte, maxFrame)
	for {
		n, _, err := conn.ReadFrom(frame)
		if err != nil {
			select {
			case <-w.done:
				return
			case <-time.After(readPause):
				continue
			}
		}
		r, ok := parse(frame[:n])
		if !ok || r.heartbeat == nil && r.sighting.host == w.host {
			continue
		}
		select {
		case <-w.done:
			return
		case w.received <- r:
		}
	}
}

func (w *wire) probe(addr netip.Addr) {
	if addr.Is4() {
		w.send(arpType, arpProbe(w.host, addr))
		return
	}
	w.send(ipv6Type, neighborProbe(w.host, addr))
}

func (w *wire) announce(addr netip.Addr) {
	if addr.Is6() {
		w.send(ipv6Type, neighborAnnouncement(w.host, addr))
		return
	}
	for _, frame := range arpAnnouncements(w.host, addr) {
		w.send(arpType, frame)
	}
}

// send sends a frame to the address at its start. What is lost is sent again: probes,
// announcements and heartbeats are repeated.
func (w *wire) send(kind int, frame []byte) {
	_, _ = w.conns[kind].WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
}
