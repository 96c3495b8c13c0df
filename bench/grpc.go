package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// grpcUpstreamCommand makes this program the upstream of gRPC calls.
	grpcUpstreamCommand = "upstream-grpc"
	grpcPath            = "/bench.Echo/Unary"
	// grpcMessageSize is that of a call and of its answer, in bytes: a small object.
	grpcMessageSize = 128
	// grpcPrefix is that of a message: a byte for compression, four for its length
	// (gRPC over HTTP/2, Length-Prefixed-Message).
	grpcPrefix = 5
	// grpcStreams is far above what the load asks for at once.
	grpcStreams = 1000
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

// serveGRPC answers unary calls with their own message, as HTTP/2 in the clear, and
// /count with their number. It returns when it can't listen.
func serveGRPC(port string) error {
	var served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, served.Load())
	})
	mux.HandleFunc("POST "+grpcPath, func(w http.ResponseWriter, r *http.Request) {
		message := make([]byte, grpcPrefix+grpcMessageSize)
		_, err := io.ReadFull(r.Body, message)
		if err != nil || r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" || r.ProtoMajor != 2 {
			http.Error(w, "no gRPC call", http.StatusBadRequest)
			return
		}
		served.Add(1)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("X-Request", r.Header.Get("X-Request"))
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(message) // whoever misses it reports it
		w.Header().Set("Grpc-Status", strconv.Itoa(0))
	})
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Addr: "127.0.0.1:" + port, Handler: mux, Protocols: &protocols, ReadHeaderTimeout: time.Minute,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: grpcStreams},
	}
	return server.ListenAndServe()
}
