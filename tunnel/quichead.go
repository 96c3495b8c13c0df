package tunnel

import (
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/cloudflare/cloudflared/tunnelrpc/proto"
	capnp "zombiezen.com/go/capnproto2"
)

// The heads of requests and responses over QUIC are messages of Cap'n Proto. The package
// tunnelrpc/quic reads and writes them by reflection, which costs as much as all else that a
// request takes; here it is done by the accessors that are generated from the schema.

const (
	// maxHead bounds a head, in bytes.
	maxHead = 1 << 20
	// usualHead is the room that a response's head has before it has to grow.
	usualHead = 2 << 10
)

// version of the protocol of data streams, which follows their signature.
const quicVersion = "01"

// quicSignatureLength is that of what tells data streams from those of calls.
const quicSignatureLength = 6

// quicSignature is what data streams begin with.
func quicSignature() [quicSignatureLength]byte { return [6]byte{0x0A, 0x36, 0xCD, 0x12, 0xA1, 0x3E} }

// readHead reads what the edge says of a stream, behind its signature.
func readHead(r io.Reader) (head *pogs.ConnectRequest, err error) {
	defer func() { // the library panics where a message points out of itself
		if reason := recover(); reason != nil {
			head, err = nil, fmt.Errorf("read head: malformed: %v", reason)
		}
	}()
	var version [len(quicVersion)]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	decoder := capnp.NewDecoder(r)
	decoder.MaxMessageSize = maxHead
	message, err := decoder.Decode()
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	root, err := proto.ReadRootConnectRequest(message)
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	head = &pogs.ConnectRequest{Type: pogs.ConnectionType(root.Type())}
	list, err := root.Metadata()
	if err == nil {
		head.Dest, err = root.Dest()
	}
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	if list.Len() > maxHead/16 { // a list may claim more than a message holds
		return nil, errors.New("read head: too many fields")
	}
	head.Metadata = make([]pogs.Metadata, list.Len())
	for i := range head.Metadata {
		m := &head.Metadata[i]
		if m.Key, err = list.At(i).Key(); err == nil {
			m.Val, err = list.At(i).Val()
		}
		if err != nil {
			return nil, fmt.Errorf("read head: %w", err)
		}
	}
	return head, nil
}

// writeHead writes the head of a response; fault is why there is none.
func writeHead(w io.Writer, fault error, metadata []pogs.Metadata) error {
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(make([]byte, 0, usualHead)))
	if err != nil {
		return fmt.Errorf("write head: %w", err)
	}
	root, err := proto.NewRootConnectResponse(segment)
	if err == nil && fault != nil {
		err = root.SetError(fault.Error())
	}
	if err != nil {
		return fmt.Errorf("write head: %w", err)
	}
	list, err := root.NewMetadata(int32(len(metadata)))
	for i := 0; err == nil && i < len(metadata); i++ {
		if err = list.At(i).SetKey(metadata[i].Key); err == nil {
			err = list.At(i).SetVal(metadata[i].Val)
		}
	}
	if err != nil {
		return fmt.Errorf("write head: %w", err)
	}
	signature := quicSignature()
	if _, err := w.Write(append(signature[:], quicVersion...)); err != nil {
		return err
	}
	return capnp.NewEncoder(w).Encode(message)
}
