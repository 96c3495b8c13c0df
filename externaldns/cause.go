package externaldns

import (
	"context"
	"errors"
	"io"
	"net"
)

// Cause tells errors of providers apart.
type Cause string

// Causes.
const (
	CauseWait        Cause = "rate-limited" // the provider wants to be left alone for a while
	CauseDenied      Cause = "denied"       // it does not take the credential
	CauseCredential  Cause = "credential"   // the credential can't be read
	CauseUnreachable Cause = "unreachable"  // there is no answer
	CauseServer      Cause = "server"       // the provider itself fails
	CauseRefused     Cause = "refused"      // it does not take a record
	CauseOther       Cause = "other"
)

// Of returns an error that says its cause.
func (c Cause) Of(err error) error { return &causedError{err, c} }

type causedError struct {
	error
	cause Cause
}

func (e *causedError) Unwrap() error { return e.error }

func (e *causedError) Cause() Cause { return e.cause }

// CauseOf says why something failed. An error may say it itself, by a method Cause.
func CauseOf(err error) Cause {
	var own interface{ Cause() Cause }
	var denied interface{ Denied() bool }
	var lasting interface{ Lasting() bool }
	var wait *WaitError
	var network net.Error
	switch {
	case errors.As(err, &own):
		return own.Cause()
	case errors.As(err, &denied) && denied.Denied():
		return CauseDenied
	case errors.As(err, &wait):
		return CauseWait
	case errors.As(err, &lasting) && lasting.Lasting():
		return CauseRefused
	case errors.As(err, &lasting):
		return CauseServer
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CauseUnreachable
	}
	return CauseOther
}

// Causes counts the causes of an error of a Round: each zone that can't be read or written is
// one, and each change that a provider did not make.
func Causes(err error) map[Cause]int {
	counts := map[Cause]int{}
	var count func(error)
	count = func(err error) {
		var failures Failures
		several, joined := err.(interface{ Unwrap() []error })
		switch {
		case err == nil:
		case joined:
			for _, part := range several.Unwrap() {
				count(part)
			}
		case errors.As(err, &failures):
			for _, failure := range failures {
				counts[CauseOf(failure)]++
			}
		default:
			counts[CauseOf(err)]++
		}
	}
	count(err)
	return counts
}
