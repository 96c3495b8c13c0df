//go:build !linux

package main

import (
	"context"
	"os"
)

// awaitUpgrade does nothing: sockets are shared on Linux alone.
func (p *process) awaitUpgrade(context.Context, func()) error { return nil }

// predecessor returns nil: nobody waits.
func predecessor() *os.File { return nil }
