//go:build !linux

package loop

import (
	"context"
	"errors"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// Group is the loops of a data plane. There are none but on Linux.
type Group struct{}

// New returns [errors.ErrUnsupported].
func New(Config) (*Group, error) { return nil, errors.ErrUnsupported }

// Run returns [errors.ErrUnsupported].
func (*Group) Run(context.Context) error { return errors.ErrUnsupported }

// Serve is never called.
func (*Group) Serve(Incoming) {}

// Listen is never called.
func (*Group) Listen(Listening) *Listener { return nil }

// Listener is a listening socket.
type Listener struct{}

// Close is never called.
func (*Listener) Close() {}

// Busy is never called.
func (*Group) Busy(time.Time) {}

// Reclaim is never called.
func (*Group) Reclaim(*router.Endpoint) bool { return false }

// Drain is never called.
func (*Group) Drain(Socket) {}

// Abort is never called.
func (*Group) Abort(Socket) {}

// Relay is never called.
func (*Group) Relay(Pair) *Relay { return nil }

// Relay is an upgraded connection.
type Relay struct{}

// Wait is never called.
func (*Relay) Wait() (toUpstream, toClient int64) { return 0, 0 }

// Cause is never called.
func (*Relay) Cause() exchange.Cause { return exchange.CauseNone }

// Cut is never called.
func (*Relay) Cut() {}
