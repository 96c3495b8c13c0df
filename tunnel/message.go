package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	capnp "zombiezen.com/go/capnproto2"
	"zombiezen.com/go/capnproto2/std/capnp/rpc"
)

// errMalformed is what a stream of calls ends with after a message that can't be read.
var errMalformed = errors.New("the edge has sent a malformed message")

// messages are the messages of Cap'n Proto that the edge sends for its calls, and for ours.
// Only those are handed on that are well formed, and of use: the library, which works in
// goroutines of its own, panics where one points out of itself, or lacks a part.
type messages struct {
	from io.Reader
	// accept reports whether a message is handed on, or what it lacks.
	accept func(rpc.Message) (bool, error)
	rest   bytes.Buffer // of the message that is being handed on
}

// Read implements io.Reader. Errors about messages are errMalformed.
func (m *messages) Read(p []byte) (int, error) {
	for m.rest.Len() == 0 {
		m.rest.Reset()
		accepted, err := m.next()
		if err != nil || !accepted {
			m.rest.Reset()
		}
		if err != nil {
			return 0, err
		}
	}
	return m.rest.Read(p)
}

// next reads a message into rest, and reports whether it is to be handed on.
func (m *messages) next() (accepted bool, err error) {
	source := &faultReader{from: m.from}
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: %v", errMalformed, reason)
		} else if source.err != nil {
			err = source.err // there is no message
		} else if err != nil {
			err = fmt.Errorf("%w: %w", errMalformed, err)
		}
	}()
	decoder := capnp.NewDecoder(io.TeeReader(source, &m.rest))
	decoder.MaxMessageSize = maxHead
	message, err := decoder.Decode()
	if err != nil {
		return false, err
	}
	message.TraverseLimit = maxHead
	root, err := message.RootPtr()
	if err != nil {
		return false, err
	}
	if !root.Struct().IsValid() {
		return false, errors.New("it is empty")
	}
	// To copy it is to follow each of its pointers.
	copied, _, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		return false, err
	}
	if err := copied.SetRootPtr(root); err != nil {
		return false, err
	}
	if objects := len(copied.CapTable); objects > 1 {
		return false, errLacks
	}
	return m.accept(rpc.Message{Struct: root.Struct()})
}

var errLacks = errors.New("a part of it is missing, or not known")

// acceptAnswer is for the side that calls, and exports nothing.
func acceptAnswer(m rpc.Message) (bool, error) {
	switch m.Which() {
	case rpc.Message_Which_abort:
		return true, nil
	case rpc.Message_Which_return:
		answer, err := m.Return()
		if err != nil {
			return false, err
		}
		switch answer.Which() {
		case rpc.Return_Which_canceled:
			return true, nil
		case rpc.Return_Which_exception:
			if answer.HasException() {
				return true, nil
			}
		case rpc.Return_Which_results:
			results, err := answer.Results()
			if err != nil {
				return false, err
			}
			return true, checkPayload(results)
		}
		return false, errLacks
	default:
		return false, nil
	}
}

// acceptCall is for the side that is called, and calls nothing.
func acceptCall(m rpc.Message) (bool, error) {
	switch m.Which() {
	case rpc.Message_Which_abort:
		return true, nil
	case rpc.Message_Which_bootstrap:
		return true, lacks(!m.HasBootstrap())
	case rpc.Message_Which_finish:
		return true, lacks(!m.HasFinish())
	case rpc.Message_Which_call:
		call, err := m.Call()
		if err != nil {
			return false, err
		}
		on, err := call.Target()
		if err != nil {
			return false, err
		}
		promised := on.Which() == rpc.MessageTarget_Which_promisedAnswer && on.HasPromisedAnswer()
		if !promised && on.Which() != rpc.MessageTarget_Which_importedCap {
			return false, errLacks
		}
		params, err := call.Params()
		if err != nil {
			return false, err
		}
		return true, checkPayload(params)
	default:
		return false, nil
	}
}

// checkPayload looks for what a call's parameters and results must have. The calls between the
// edge and us hand over no object but the first, which is the whole content, and none of the
// one who reads.
func checkPayload(p rpc.Payload) error {
	if !p.IsValid() {
		return errLacks
	}
	table, err := p.CapTable()
	if err != nil {
		return err
	}
	for i := range table.Len() {
		switch table.At(i).Which() {
		case rpc.CapDescriptor_Which_senderHosted, rpc.CapDescriptor_Which_senderPromise:
		default:
			return errLacks
		}
	}
	content, err := p.ContentPtr()
	if err != nil {
		return err
	}
	if object := content.Interface(); object.IsValid() {
		return lacks(int64(object.Capability()) >= int64(table.Len()))
	}
	return nil
}

func lacks(missing bool) error {
	if missing {
		return errLacks
	}
	return nil
}

// faultReader keeps the error that reading ended with.
type faultReader struct {
	from io.Reader
	err  error
}

// Read implements io.Reader.
func (f *faultReader) Read(p []byte) (n int, err error) {
	n, err = f.from.Read(p)
	if err != nil && n == 0 {
		f.err = err
	}
	return n, err
}
