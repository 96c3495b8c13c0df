package succession

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func address(name string) *net.UnixAddr { return &net.UnixAddr{Name: "@" + name, Net: "unix"} }

func listen(name string) (*net.UnixListener, error) {
	listener, err := net.ListenUnix("unix", address(name))
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, ErrTaken
	}
	if err != nil {
		return nil, fmt.Errorf("take seat: %w", err)
	}
	return listener, nil
}

func dial(name string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, address(name))
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrFree
	}
	if err != nil {
		return nil, fmt.Errorf("queue for seat: %w", err)
	}
	return conn, nil
}

// checkUser returns an error unless the process at the other end is of our user.
func checkUser(conn *net.UnixConn) error {
	wire, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the other process: %w", err)
	}
	var peer *unix.Ucred
	var peerErr error
	if err := wire.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("look at the other process: %w", err)
	}
	if peerErr != nil {
		return fmt.Errorf("look at the other process: %w", peerErr)
	}
	if own := os.Geteuid(); int(peer.Uid) != own {
		return fmt.Errorf("process %d is of user %d, and we are of %d", peer.Pid, peer.Uid, own)
	}
	return nil
}
