// Package extauthz writes and reads the messages of Envoy's external authorization
// (envoy.service.auth.v3): a question about one HTTP request, and the answer. It knows the
// fields that a gateway has something to say in, and skips all others; it does no I/O.
package extauthz

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lintel-dev/lintel/router"
)

// Method is the path of the call.
const Method = "/envoy.service.auth.v3.Authorization/Check"

// Request is what a server is told of an HTTP request (AttributeContext).
type Request struct {
	Source, Destination netip.AddrPort // invalid ones are left out

	Time     time.Time
	ID       string
	Method   string
	Path     string // with the query
	Host     string
	Scheme   string
	Protocol string // "HTTP/1.1"
	Fields   []router.Field
	// Size is that of the body in bytes, -1 if it is not known. Body is what the server is
	// sent of it.
	Size int64
	Body []byte

	ServerName string // in the TLS handshake; "" for none
}

// The numbers of fields that messages have.
const (
	checkAttributes protowire.Number = 1 // CheckRequest

	contextSource      protowire.Number = 1 // AttributeContext
	contextDestination protowire.Number = 2
	contextRequest     protowire.Number = 4
	contextTLS         protowire.Number = 12

	peerAddress   protowire.Number = 1 // AttributeContext.Peer
	socketAddress protowire.Number = 1 // core.v3.Address
	addressIP     protowire.Number = 2 // core.v3.SocketAddress
	addressPort   protowire.Number = 3

	requestTime protowire.Number = 1 // AttributeContext.Request
	requestHTTP protowire.Number = 2

	timeSeconds protowire.Number = 1 // google.protobuf.Timestamp
	timeNanos   protowire.Number = 2

	httpID       protowire.Number = 1 // AttributeContext.HttpRequest
	httpMethod   protowire.Number = 2
	httpHeaders  protowire.Number = 3
	httpPath     protowire.Number = 4
	httpHost     protowire.Number = 5
	httpScheme   protowire.Number = 6
	httpSize     protowire.Number = 9
	httpProtocol protowire.Number = 10
	httpBody     protowire.Number = 11
	httpRawBody  protowire.Number = 12

	mapKey   protowire.Number = 1
	mapValue protowire.Number = 2

	tlsServerName protowire.Number = 1 // AttributeContext.TLSSession
)

// Append appends r as a CheckRequest.
func (r *Request) Append(dst []byte) []byte {
	var context []byte
	context = appendPeer(context, contextSource, r.Source)
	context = appendPeer(context, contextDestination, r.Destination)
	var request []byte
	if !r.Time.IsZero() {
		var at []byte
		at = appendNumber(at, timeSeconds, uint64(r.Time.Unix()))
		at = appendNumber(at, timeNanos, uint64(r.Time.Nanosecond()))
		request = appendBytes(request, requestTime, at)
	}
	request = appendBytes(request, requestHTTP, r.appendHTTP(nil))
	context = appendBytes(context, contextRequest, request)
	if r.ServerName != "" {
		context = appendBytes(context, contextTLS, appendText(nil, tlsServerName, r.ServerName))
	}
	return appendBytes(dst, checkAttributes, context)
}

func (r *Request) appendHTTP(dst []byte) []byte {
	dst = appendText(dst, httpID, r.ID)
	dst = appendText(dst, httpMethod, r.Method)
	dst = appendFields(dst, r.Fields)
	dst = appendText(dst, httpPath, r.Path)
	dst = appendText(dst, httpHost, r.Host)
	dst = appendText(dst, httpScheme, r.Scheme)
	dst = appendNumber(dst, httpSize, uint64(r.Size))
	dst = appendText(dst, httpProtocol, r.Protocol)
	switch {
	case len(r.Body) == 0:
	case utf8.Valid(r.Body):
		dst = appendBytes(dst, httpBody, r.Body)
	default:
		dst = appendBytes(dst, httpRawBody, r.Body)
	}
	return dst
}

// appendFields appends the fields by names in lower case; the values of one name are
// joined by commas (RFC 9110 §5.3). What is not UTF-8 has its bytes replaced, as a message
// cannot hold it.
func appendFields(dst []byte, fields []router.Field) []byte {
	done := make(map[string]bool, len(fields))
	for i := range fields {
		name := strings.ToLower(fields[i].Name)
		if done[name] {
			continue
		}
		done[name] = true
		value := fields[i].Value
		for _, other := range fields[i+1:] {
			if strings.EqualFold(other.Name, name) {
				value += "," + other.Value
			}
		}
		var entry []byte
		entry = appendText(entry, mapKey, name)
		entry = appendText(entry, mapValue, value)
		dst = appendBytes(dst, httpHeaders, entry)
	}
	return dst
}

func appendPeer(dst []byte, number protowire.Number, address netip.AddrPort) []byte {
	if !address.IsValid() {
		return dst
	}
	var socket []byte
	socket = appendText(socket, addressIP, address.Addr().String())
	socket = appendNumber(socket, addressPort, uint64(address.Port()))
	peer := appendBytes(nil, peerAddress, appendBytes(nil, socketAddress, socket))
	return appendBytes(dst, number, peer)
}

func appendBytes(dst []byte, number protowire.Number, value []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendBytes(dst, value)
}

func appendText(dst []byte, number protowire.Number, value string) []byte {
	if value == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendString(dst, strings.ToValidUTF8(value, "\uFFFD"))
}

func appendNumber(dst []byte, number protowire.Number, value uint64) []byte {
	if value == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.VarintType)
	return protowire.AppendVarint(dst, value)
}
