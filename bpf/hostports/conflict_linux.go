package hostports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// maxOwners bounds what is remembered of who has a socket.
const maxOwners = 64

// States of sockets in /proc/net (the kernel's tcp_states.h).
const (
	stateListen      = "0A" // of TCP
	stateUnconnected = "07" // of UDP
)

// listening is a socket that waits for clients.
type listening struct {
	at    netip.AddrPort // unspecified in IPv6 means both families
	user  string
	inode uint64
}

// checkConflicts returns a Conflict if a client at the place may mean somebody else's socket.
func (p *Ports) checkConflicts(at place) error {
	sockets, err := listeningSockets(at.network)
	if err != nil {
		return fmt.Errorf("see who listens to %s: %w", at, err)
	}
	i := slices.IndexFunc(sockets, func(s listening) bool { return s.takes(at) })
	if i < 0 {
		return nil
	}
	return &Conflict{Place: at.String(), Holder: p.holder(&sockets[i])}
}

// takes reports whether a client at the place may get the socket.
func (s *listening) takes(at place) bool {
	if isInner(s.at) {
		return at.innerOverlaps(s.at)
	}
	return s.place(at.network).overlaps(at)
}

// place is what a socket that is bound listens to.
func (s *listening) place(network string) place {
	if s.at.Addr() == netip.IPv6Unspecified() {
		return place{network: network, at: netip.AddrPortFrom(netip.Addr{}, s.at.Port())}
	}
	return place{network: network, at: s.at}
}

// Starved returns who has bound what is received for in the calling thread's network
// namespace, after that began: it gets no clients, and nobody has told it.
func (p *Ports) Starved() ([]Conflict, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var starved []Conflict
	for _, network := range []string{"tcp", "udp"} {
		sockets, err := listeningSockets(network)
		if err != nil {
			return nil, fmt.Errorf("see who listens: %w", err)
		}
		for i := range sockets {
			s := &sockets[i]
			at := s.place(network)
			if isInner(s.at) || !slices.ContainsFunc(sockets, func(o listening) bool { return isInner(o.at) && at.innerOverlaps(o.at) }) {
				continue
			}
			starved = append(starved, Conflict{Place: at.String(), Holder: p.holder(s)})
		}
	}
	return starved, nil
}

// holder says in words who has a socket.
func (p *Ports) holder(s *listening) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.owners[s.inode]; known != "" {
		return known // looking for it reads all of /proc, and whoever waits asks often
	}
	holder := processOf(s.inode)
	switch {
	case holder == "" && isInner(s.at):
		holder = "another Lintel of user " + s.user
	case holder == "":
		holder = "a process of user " + s.user
	}
	if len(p.owners) >= maxOwners {
		clear(p.owners)
	}
	p.owners[s.inode] = holder
	return holder
}

// listeningSockets are those of the calling thread's network namespace.
func listeningSockets(network string) ([]listening, error) {
	var all []listening
	for _, name := range []string{network, network + "6"} {
		file, err := os.Open("/proc/thread-self/net/" + name)
		if os.IsNotExist(err) {
			continue // the kernel has no IPv6
		}
		if err != nil {
			return nil, err
		}
		sockets, err := readListening(bufio.NewScanner(file), network)
		_ = file.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, sockets...)
	}
	return all, nil
}

// readListening reads a table (proc_pid_net(5)). That of TCP begins with the sockets that
// listen; what follows may be long.
func readListening(lines *bufio.Scanner, network string) ([]listening, error) {
	var sockets []listening
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		if network == "tcp" && fields[3] != stateListen {
			break
		}
		if network == "udp" && fields[3] != stateUnconnected {
			continue
		}
		at, err := parseProcAddress(fields[1])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read inode: %w", err)
		}
		sockets = append(sockets, listening{at: at, user: fields[7], inode: inode})
	}
	return sockets, lines.Err()
}

// parseProcAddress reads 0100007F:0050: words in the machine's byte order, and a number.
func parseProcAddress(text string) (netip.AddrPort, error) {
	address, number, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read address %q: %w", text, err)
	}
	for i := 0; i+4 <= len(bytes); i += 4 {
		binary.NativeEndian.PutUint32(bytes[i:], binary.BigEndian.Uint32(bytes[i:]))
	}
	at, ok := netip.AddrFromSlice(bytes)
	port, err := strconv.ParseUint(number, 16, 16)
	if err != nil || !ok {
		return netip.AddrPort{}, fmt.Errorf("read address %q", text)
	}
	return netip.AddrPortFrom(at.Unmap(), uint16(port)), nil
}

// processOf names the process that has a socket, as far as we may see; "" is not known.
func processOf(inode uint64) string {
	link := fmt.Sprintf("socket:[%d]", inode)
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right
	for _, path := range descriptors {
		if to, err := os.Readlink(path); err != nil || to != link {
			continue
		}
		process := strings.Split(path, "/")[2]
		name, _ := os.ReadFile("/proc/" + process + "/comm") // without it the number will do
		return strings.TrimSpace(fmt.Sprintf("process %s %s", process, parenthesized(strings.TrimSpace(string(name)))))
	}
	return ""
}

func parenthesized(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}
