package main

import "encoding/binary"

const (
	grpcPath = "/bench.Echo/Unary" // native/upstream_h2.c knows it too
	// grpcMessageSize is that of a call and of its answer, in bytes: a small object.
	grpcMessageSize = 128
	// grpcPrefix is that of a message: a byte for compression, four for its length
	// (gRPC over HTTP/2, Length-Prefixed-Message).
	grpcPrefix = 5
)

// grpcMessage returns a call's message with its prefix.
func grpcMessage() []byte {
	message := make([]byte, grpcPrefix, grpcPrefix+grpcMessageSize)
	binary.BigEndian.PutUint32(message[1:], grpcMessageSize)
	for i := range grpcMessageSize {
		message = append(message, byte('a'+i%26))
	}
	return message
}
