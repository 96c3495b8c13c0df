package exchange

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/lintel-dev/lintel/router"
)

// A gRPC client looks for its status in the trailers, or in the head of a response that
// has nothing else (gRPC over HTTP2, "Trailers-Only"). So our own answers to it say there
// what the HTTP status would have said.

// grpcType is the media type of gRPC; a suffix may follow, such as +proto.
const grpcType = "application/grpc"

// grpcCode is a status code of gRPC.
type grpcCode int

// The codes that HTTP statuses stand for.
const (
	grpcUnknown          grpcCode = 2
	grpcDeadlineExceeded grpcCode = 4
	grpcPermissionDenied grpcCode = 7
	grpcExhausted        grpcCode = 8
	grpcUnimplemented    grpcCode = 12
	grpcInternal         grpcCode = 13
	grpcUnavailable      grpcCode = 14
	grpcUnauthenticated  grpcCode = 16
)

// code is what a means to a gRPC client: by its cause where that says more than the
// status, and otherwise as gRPC's "HTTP to gRPC Status Code Mapping" has it.
func (a *Answer) code() grpcCode {
	switch a.Cause {
	case CauseTimeout:
		return grpcDeadlineExceeded
	case CauseBodyTooLarge:
		return grpcExhausted
	}
	switch a.Status {
	case http.StatusBadRequest:
		return grpcInternal
	case http.StatusUnauthorized:
		return grpcUnauthenticated
	case http.StatusForbidden:
		return grpcPermissionDenied
	case http.StatusNotFound:
		return grpcUnimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return grpcUnavailable
	}
	return grpcUnknown
}

// IsGRPC reports whether the request is one of gRPC. Over HTTP/1 there is none.
func (x *Exchange) IsGRPC() bool {
	if x.Client.Protocol == "" {
		return false
	}
	media, _ := router.Lookup(x.Request.Fields, "Content-Type")
	if len(media) < len(grpcType) || !strings.EqualFold(media[:len(grpcType)], grpcType) {
		return false
	}
	rest := media[len(grpcType):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// appendGRPC appends what tells a gRPC client of a.
func appendGRPC(fields []router.Field, a *Answer) []router.Field {
	message := reasonOf(a.Status)
	if a.Cause != CauseNone {
		message += ": " + string(a.Cause)
	}
	return append(fields,
		router.Field{Name: "Content-Type", Value: grpcType},
		router.Field{Name: "Grpc-Status", Value: strconv.Itoa(int(a.code()))},
		router.Field{Name: "Grpc-Message", Value: message})
}
