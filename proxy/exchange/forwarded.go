package exchange

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"unsafe"

	"github.com/lintel-dev/lintel/router"
)

// What an upstream is told about the client.
//
//	X-Forwarded-For    the peer's address, after the chain that a trusted peer sent
//	X-Forwarded-Proto  http or https
//	X-Forwarded-Host   the Host that the client sent
//	X-Forwarded-Port   the port of our socket
//	X-Real-Ip          the client's address, as [Exchange.clientAddress] finds it
//	X-Request-Id       the client's, or else 128 random bits
//
// All fields called X-Forwarded-anything, X-Real-Ip and Forwarded are taken from
// trusted peers alone: what others send is dropped, spellings with underscores
// included, since CGI-like servers cannot tell X_Forwarded_For from
// X-Forwarded-For. A trusted peer's Proto, Host, Port and X-Real-Ip stay as they
// are. What is dropped matches no Rule either. Forwarded (RFC 7239) is never
// written. X-Request-Id is no statement of trust, so everybody's is kept. Via is
// not added: like nginx and Envoy, a gateway that stands for the origin does not
// announce itself.

// maxRequestID bounds the X-Request-Id of a client in bytes: it ends up in logs.
const maxRequestID = 128

// origin is a set of the fields that a trusted peer has sent.
type origin uint8

const (
	sentProto origin = 1 << iota
	sentHost
	sentPort
	sentRealIP
)

// provenance says what a client's field has to do with forwarding.
type provenance uint8

const (
	ordinary provenance = iota
	isHost
	isFraming // Content-Length, Transfer-Encoding
	isRequestID
	isForwardedFor
	isForwardedProto
	isForwardedHost
	isForwardedPort
	isRealIP
	isForwarded // Forwarded, and any other X-Forwarded-
)

// classify looks at the name of a field; the length rules out nearly all.
func classify(name string) provenance {
	switch len(name) {
	case 4:
		if folds(name, "host") {
			return isHost
		}
		return ordinary
	case 9:
		if folds(name, "x-real-ip") {
			return isRealIP
		}
		if folds(name, "forwarded") {
			return isForwarded
		}
		return ordinary
	case 12:
		if folds(name, "x-request-id") {
			return isRequestID
		}
	case 14:
		if folds(name, "content-length") {
			return isFraming
		}
	case 15:
		if folds(name, "x-forwarded-for") {
			return isForwardedFor
		}
	case 16:
		if folds(name, "x-forwarded-host") {
			return isForwardedHost
		}
		if folds(name, "x-forwarded-port") {
			return isForwardedPort
		}
	case 17:
		if folds(name, "x-forwarded-proto") {
			return isForwardedProto
		}
		if folds(name, "transfer-encoding") {
			return isFraming
		}
	}
	const prefix = "x-forwarded-"
	if len(name) > len(prefix) && folds(name[:len(prefix)], prefix) {
		return isForwarded
	}
	return ordinary
}

// folds compares a name with one in lower case, with underscores as dashes.
func folds(name, lower string) bool {
	for i := range len(lower) {
		c := name[i]
		if c == '_' {
			c = '-'
		}
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// believed returns the fields that a Rule may match: all of the client's but those that
// gather would not believe, and what the Listener's authorization servers want. They are
// valid until gather.
func (x *Exchange) believed() []router.Field {
	all := x.Request.Fields
	drops := !x.Client.Trusted && slices.ContainsFunc(all, unproven)
	if !drops && len(x.granted.listener) == 0 {
		return all
	}
	x.fields = append(x.fields[:0], all...)
	if drops {
		x.fields = slices.DeleteFunc(x.fields, unproven)
	}
	x.fields = x.granted.listener.replace(x.fields)
	return x.fields
}

// unproven reports whether a field is taken from trusted peers alone.
func unproven(field router.Field) bool {
	switch classify(field.Name) {
	case ordinary, isHost, isFraming, isRequestID:
		return false
	}
	return true
}

// gather fills x.fields with what goes upstream: Host first, then what collect appends,
// changed by the filters and the Rule's authorization server.
func (x *Exchange) gather() {
	host := x.Request.Host
	if w := x.Rule.Action.RewriteOf(x.Chosen); w != nil && w.Hostname != "" {
		host = w.Hostname
	}
	fields := x.collect(append(x.fields[:0], router.Field{Name: "Host", Value: host}))
	action := &x.Rule.Action
	if action.Auth != nil && action.Auth.AfterHeaders {
		fields = x.granted.rule.replace(action.RequestHeaders.Apply(fields))
	} else {
		fields = action.RequestHeaders.Apply(x.granted.rule.replace(fields))
	}
	x.fields = x.Chosen.RequestHeaders.Apply(fields)
}

// collect appends the client's fields without those of the connection, then ours, and what
// the Listener's authorization servers want.
func (x *Exchange) collect(fields []router.Field) []router.Field {
	r := x.Request
	x.scratch = x.scratch[:0]
	own := x.Report.RequestID // when this is done anew
	x.Report.RequestID = ""
	var sent origin
	for i := range r.Fields {
		field := &r.Fields[i]
		if r.HopByHop(field.Name) {
			continue
		}
		if x.keeps(field, &sent) {
			fields = append(fields, *field)
		}
	}
	if x.Report.RequestID == "" {
		x.Report.RequestID = own
	}
	return x.granted.listener.replace(x.appendOrigin(fields, sent))
}

// keeps decides about one field of the client, and notes what it learns from it.
func (x *Exchange) keeps(field *router.Field, sent *origin) bool {
	kind := classify(field.Name)
	switch kind {
	case ordinary:
		return true
	case isHost, isFraming:
		return false
	case isRequestID:
		if x.Report.RequestID == "" && field.Value != "" && len(field.Value) <= maxRequestID {
			x.Report.RequestID = field.Value
		}
		return false
	}
	if !x.Client.Trusted {
		return false
	}
	switch kind {
	case isForwardedFor:
		x.scratch = append(x.scratch, field.Value...)
		x.scratch = append(x.scratch, ", "...)
		return false
	case isForwardedProto:
		*sent |= sentProto
	case isForwardedHost:
		*sent |= sentHost
	case isForwardedPort:
		*sent |= sentPort
	case isRealIP:
		*sent |= sentRealIP
	}
	return true
}

// appendOrigin appends our own fields; x.scratch holds the chain so far.
func (x *Exchange) appendOrigin(fields []router.Field, sent origin) []router.Field {
	c := x.Client
	chain := c.Address
	if len(x.scratch) > 0 {
		x.scratch = append(x.scratch, c.Address...)
		chain = unsafe.String(unsafe.SliceData(x.scratch), len(x.scratch))
	}
	if x.Report.RequestID == "" {
		x.Report.RequestID = x.newRequestID()
	}
	fields = append(fields,
		router.Field{Name: "X-Forwarded-For", Value: chain},
		router.Field{Name: "X-Request-Id", Value: x.Report.RequestID})
	if sent&sentProto == 0 {
		fields = append(fields, router.Field{Name: "X-Forwarded-Proto", Value: c.Scheme})
	}
	if sent&sentHost == 0 && x.Request.Host != "" {
		fields = append(fields, router.Field{Name: "X-Forwarded-Host", Value: x.Request.Host})
	}
	if sent&sentPort == 0 {
		fields = append(fields, router.Field{Name: "X-Forwarded-Port", Value: c.Port})
	}
	if sent&sentRealIP == 0 {
		address := c.Address
		if x.Report.Client != c.Addr {
			address = x.Report.Client.String()
		}
		fields = append(fields, router.Field{Name: "X-Real-Ip", Value: address})
	}
	return fields
}

// newRequestID returns 32 hexadecimal digits that are valid until the next call.
// They identify and protect nothing, so they need not be unpredictable.
func (x *Exchange) newRequestID() string {
	var id [16]byte
	for i := 0; i < len(id); i += 8 {
		n := rand.Uint64()
		for j := range 8 {
			id[i+j] = byte(n >> (8 * j))
		}
	}
	hex.Encode(x.id[:], id[:])
	return unsafe.String(&x.id[0], len(x.id))
}
