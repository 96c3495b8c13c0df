package proxy

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sendFile sends a descriptor to another process, beside one byte.
func sendFile(conn *net.UnixConn, fd int) error {
	_, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
	return err
}

// receiveFile is the other side of sendFile.
func receiveFile(conn *net.UnixConn) (*os.File, error) {
	control := make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := conn.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("it came with %d control messages", len(messages))
	}
	descriptors, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	if len(descriptors) != 1 {
		return nil, fmt.Errorf("it came with %d descriptors", len(descriptors))
	}
	return os.NewFile(uintptr(descriptors[0]), "socket of another process"), nil
}
