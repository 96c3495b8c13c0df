//go:build !linux

package hostports

import (
	"net"
	"syscall"

	"github.com/lintel-dev/lintel/bpf"
)

// Probe says that ports can't be received for here.
func Probe() error { return bpf.Unavailable("eBPF is Linux's") }

// Active says that nothing is.
func Active() (string, error) { return "", nil }

// Ports can't be opened.
type Ports struct{}

// Open returns an error.
func Open() (*Ports, error) { return nil, Probe() }

// Close is not called.
func (p *Ports) Close() error { return nil }

// ListenTCP is not called.
func (p *Ports) ListenTCP(string) (*net.TCPListener, error) { return nil, Probe() }

// ListenUDP is not called.
func (p *Ports) ListenUDP(string) (*net.UDPConn, error) { return nil, Probe() }

// Starved is not called.
func (p *Ports) Starved() ([]Conflict, error) { return nil, Probe() }

// Adopt is not called.
func (p *Ports) Adopt(string, string, syscall.RawConn) error { return Probe() }
