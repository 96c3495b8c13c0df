//go:build !linux

package flows

import (
	"context"

	"github.com/lintel-dev/lintel/bpf"
)

// Recorder is never made: eBPF is Linux's.
type Recorder struct{}

// Needs are none that could be met.
func Needs() bpf.Needs { return bpf.Needs{} }

// Attach returns an error that wraps bpf.ErrUnavailable.
func Attach(Options) (*Recorder, error) { return nil, bpf.Unavailable("eBPF is Linux's") }

// Run is never called.
func (*Recorder) Run(context.Context, Receiver) error { return nil }

// Lost is never called.
func (*Recorder) Lost() (uint64, error) { return 0, nil }

// Close is never called.
func (*Recorder) Close() error { return nil }

// Attached is never true.
func Attached(string) (bool, error) { return false, nil }
