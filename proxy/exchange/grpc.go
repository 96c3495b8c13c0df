package exchange

import (
	"net/http"
	"strconv"

	"github.com/lintel-dev/lintel/proxy/h1"
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
	case CauseNoBackend: // as GRPCRoute's backendRefs have it
		return grpcUnavailable
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

// grpcMedia is the media type of our own answer to a request of gRPC or gRPC-Web; "" if it
// is neither. Over HTTP/1 there is no gRPC.
func (x *Exchange) grpcMedia() string {
	media, _ := router.Lookup(x.Request.Fields, "Content-Type")
	if _, ok := cutFold(media, grpcType); ok && x.Client.Protocol != "" {
		return grpcType
	}
	switch web, format := webOf(media); web {
	case GRPCWebBinary:
		return grpcWebType + format
	case GRPCWebText:
		return grpcWebText + format
	}
	return ""
}

// BrokenOff returns the trailers that end the response of a gRPC client when that breaks
// off for cause behind its head: without them the client would see a failure inside of us.
// They are nil for other clients, which have to see that it is not all, and when nobody is
// there to be told. They may be kept.
func (x *Exchange) BrokenOff(cause Cause) []h1.Field {
	a := cause.Answer()
	if a.Status == 0 || cause == CauseClientStalled || x.Report.Status != http.StatusOK || x.sized {
		return nil
	}
	if media := x.grpcMedia(); media != grpcType && (media == "" || x.web == NoGRPCWeb) {
		return nil
	}
	return appendStatus(nil, &a)
}

// appendGRPC appends what tells a gRPC client of a.
func appendGRPC(fields []router.Field, media string, a *Answer) []router.Field {
	return appendStatus(append(fields, router.Field{Name: "Content-Type", Value: media}), a)
}

// appendStatus appends the status of gRPC that a stands for.
func appendStatus(fields []router.Field, a *Answer) []router.Field {
	message := reasonOf(a.Status)
	if a.Cause != CauseNone {
		message += ": " + string(a.Cause)
	}
	return append(fields,
		router.Field{Name: "Grpc-Status", Value: strconv.Itoa(int(a.code()))},
		router.Field{Name: "Grpc-Message", Value: message})
}
