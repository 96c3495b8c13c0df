package proxy

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The byte beside a descriptor.
const (
	boundSocket = 0
	innerSocket = 1
)

// sendFile sends a descriptor to another process, and whether it is an inner socket's.
func sendFile(conn *net.UnixConn, fd int, inner bool) error {
	kind := byte(boundSocket)
	if inner {
		kind = innerSocket
	}
	_, _, err := conn.WriteMsgUnix([]byte{kind}, unix.UnixRights(fd), nil)
	return err
}

// receiveFile is the other side of sendFile.
func receiveFile(conn *net.UnixConn) (file *os.File, inner bool, err error) {
	control, kind := make([]byte, unix.CmsgSpace(4)), make([]byte, 1)
	n, m, _, _, err := conn.ReadMsgUnix(kind, control)
	if err != nil {
		return nil, false, err
	}
	if n == 0 {
		return nil, false, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil {
		return nil, false, err
	}
	if len(messages) != 1 {
		return nil, false, fmt.Errorf("it came with %d control messages", len(messages))
	}
	descriptors, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, false, err
	}
	if len(descriptors) != 1 {
		return nil, false, fmt.Errorf("it came with %d descriptors", len(descriptors))
	}
	return os.NewFile(uintptr(descriptors[0]), "socket of another process"), kind[0] == innerSocket, nil
}
