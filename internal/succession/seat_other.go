//go:build !linux

package succession

import (
	"errors"
	"net"
)

func listen(string) (*net.UnixListener, error) { return nil, errors.ErrUnsupported }

func shut(*net.UnixListener) error { return errors.ErrUnsupported }

func rest(*net.UnixListener) ([]*net.UnixConn, error) { return nil, errors.ErrUnsupported }

func dial(string) (*net.UnixConn, error) { return nil, errors.ErrUnsupported }

func checkUser(*net.UnixConn) error { return nil }
