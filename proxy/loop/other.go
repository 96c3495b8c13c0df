//go:build !linux

package loop

import (
	"context"
	"errors"
)

// Group is the loops of a data plane. There are none but on Linux.
type Group struct{}

// New returns [errors.ErrUnsupported].
func New(Config) (*Group, error) { return nil, errors.ErrUnsupported }

// Run returns [errors.ErrUnsupported].
func (*Group) Run(context.Context) error { return errors.ErrUnsupported }

// Serve is never called.
func (*Group) Serve(Incoming) {}

// Drain is never called.
func (*Group) Drain(Socket) {}

// Abort is never called.
func (*Group) Abort(Socket) {}
