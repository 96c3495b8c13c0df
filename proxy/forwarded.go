package proxy

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
//	X-Real-Ip          the client's address, as [flight.clientAddress] finds it
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
	isLength
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
			return isLength
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

// believed returns the client's fields that a Rule may match: all but those that
// gather would not believe. They are valid until gather.
func (f *flight) believed() []router.Field {
	all := f.request.Fields
	if f.c.trusted || !slices.ContainsFunc(all, unproven) {
		return all
	}
	f.fields = slices.DeleteFunc(append(f.fields[:0], all...), unproven)
	return f.fields
}

// unproven reports whether a field is taken from trusted peers alone.
func unproven(field router.Field) bool {
	switch classify(field.Name) {
	case ordinary, isHost, isLength, isRequestID:
		return false
	}
	return true
}

// gather fills f.fields with what goes upstream: Host first, then the client's
// fields without those of the connection, then ours, changed by the filters.
func (f *flight) gather() {
	r := f.request
	host := r.Host
	if w := f.rule.Action.Rewrite; w != nil && w.Hostname != "" {
		host = w.Hostname
	}
	fields := append(f.fields[:0], router.Field{Name: "Host", Value: host})
	f.scratch = f.scratch[:0]
	f.seen.RequestID = ""
	var sent origin
	for i := range r.Fields {
		field := &r.Fields[i]
		if r.HopByHop(field.Name) {
			continue
		}
		if f.keeps(field, &sent) {
			fields = append(fields, *field)
		}
	}
	fields = f.appendOrigin(fields, sent)
	fields = f.rule.Action.RequestHeaders.Apply(fields)
	f.fields = f.chosen.RequestHeaders.Apply(fields)
}

// keeps decides about one field of the client, and notes what it learns from it.
func (f *flight) keeps(field *router.Field, sent *origin) bool {
	kind := classify(field.Name)
	switch kind {
	case ordinary:
		return true
	case isHost, isLength:
		return false
	case isRequestID:
		if f.seen.RequestID == "" && field.Value != "" && len(field.Value) <= maxRequestID {
			f.seen.RequestID = field.Value
		}
		return false
	}
	if !f.c.trusted {
		return false
	}
	switch kind {
	case isForwardedFor:
		f.scratch = append(f.scratch, field.Value...)
		f.scratch = append(f.scratch, ", "...)
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

// appendOrigin appends our own fields; f.scratch holds the chain so far.
func (f *flight) appendOrigin(fields []router.Field, sent origin) []router.Field {
	c := f.c
	chain := c.address
	if len(f.scratch) > 0 {
		f.scratch = append(f.scratch, c.address...)
		chain = unsafe.String(unsafe.SliceData(f.scratch), len(f.scratch))
	}
	if f.seen.RequestID == "" {
		f.seen.RequestID = f.newRequestID()
	}
	fields = append(fields,
		router.Field{Name: "X-Forwarded-For", Value: chain},
		router.Field{Name: "X-Request-Id", Value: f.seen.RequestID})
	if sent&sentProto == 0 {
		fields = append(fields, router.Field{Name: "X-Forwarded-Proto", Value: c.scheme})
	}
	if sent&sentHost == 0 && f.request.Host != "" {
		fields = append(fields, router.Field{Name: "X-Forwarded-Host", Value: f.request.Host})
	}
	if sent&sentPort == 0 {
		fields = append(fields, router.Field{Name: "X-Forwarded-Port", Value: c.port})
	}
	if sent&sentRealIP == 0 {
		address := c.address
		if f.seen.Client != c.client {
			address = f.seen.Client.String()
		}
		fields = append(fields, router.Field{Name: "X-Real-Ip", Value: address})
	}
	return fields
}

// newRequestID returns 32 hexadecimal digits that are valid until the next call.
// They identify and protect nothing, so they need not be unpredictable.
func (f *flight) newRequestID() string {
	var id [16]byte
	for i := 0; i < len(id); i += 8 {
		n := rand.Uint64()
		for j := range 8 {
			id[i+j] = byte(n >> (8 * j))
		}
	}
	hex.Encode(f.id[:], id[:])
	return unsafe.String(&f.id[0], len(f.id))
}
