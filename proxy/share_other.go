//go:build !linux

package proxy

import (
	"errors"
	"net"
	"os"
)

func sendFile(*net.UnixConn, int) error { return errors.ErrUnsupported }

func receiveFile(*net.UnixConn) (*os.File, error) { return nil, errors.ErrUnsupported }
