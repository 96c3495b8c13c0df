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

// shut refuses those who come from now on. The name stays ours.
func shut(listener *net.UnixListener) error {
	var failure error
	err := control(listener, func(fd int) { failure = unix.Shutdown(fd, unix.SHUT_RD) })
	return errors.Join(err, failure)
}

// rest returns those who came before shut and were not accepted. Nobody may accept meanwhile.
func rest(listener *net.UnixListener) (came []*net.UnixConn, err error) {
	var failure error
	err = control(listener, func(fd int) {
		for failure == nil {
			accepted, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch {
			case errors.Is(err, unix.EAGAIN): // nobody is left
				return
			case errors.Is(err, unix.EINTR):
			case err != nil:
				failure = err
			default:
				var conn *net.UnixConn
				if conn, failure = connection(accepted); failure == nil {
					came = append(came, conn)
				}
			}
		}
	})
	return came, errors.Join(err, failure)
}

func connection(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "seat")
	defer file.Close() // the connection has a descriptor of its own
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil //nolint:forcetypeassert // Its listener is one.
}

func control(listener *net.UnixListener, f func(fd int)) error {
	wire, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	return wire.Control(func(fd uintptr) { f(int(fd)) })
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
		return fmt.Errorf("%w: %d, and we are of %d", ErrOtherUser, peer.Uid, own)
	}
	return nil
}
