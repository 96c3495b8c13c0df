//go:build !linux

package proxy

import (
	"errors"
	"net"
	"os"
)

func sendFile(*net.UnixConn, int, bool) error { return errors.ErrUnsupported }

func receiveFile(*net.UnixConn) (*os.File, bool, error) { return nil, false, errors.ErrUnsupported }
