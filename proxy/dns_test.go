package proxy

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

const errAddressInUse = syscall.EADDRINUSE

// dnsOverTCP serves DNS with two bytes of length before each message (RFC 1035 §4.2.2).
func dnsOverTCP(t *testing.T, answer func(p []byte, whole bool) []byte) *router.Backend {
	return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			var size [2]byte
			if _, err := io.ReadFull(in, size[:]); err != nil {
				return
			}
			p := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(in, p); err != nil {
				return
			}
			said := answer(p, true)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(said))), said...))
		}
	})
}
