package exchange

import (
	"encoding/binary"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/extauthz"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// messageHead is what stands before a message of gRPC: whether it is compressed, and its
// length (gRPC over HTTP2, "Length-Prefixed-Message").
const messageHead = 5

// Check returns the message that asks about the request, with what its server is to be told.
func (x *Exchange) Check(auth *router.ExternalAuth, body []byte) []byte {
	r := extauthz.Request{
		Source: x.Client.Source, Time: x.Report.Start,
		Method: x.Request.Method, Path: x.Match.Path, Host: x.Request.Host, Scheme: x.Client.Scheme, Protocol: x.Report.Protocol,
		Size: -1, Body: body, ServerName: x.Client.ServerName,
	}
	if !r.Source.IsValid() {
		r.Source = netip.AddrPortFrom(x.Client.Addr, 0)
	}
	r.Destination = x.Client.Destination
	if x.Match.Query != "" {
		r.Path += "?" + x.Match.Query
	}
	switch x.Request.Framing {
	case h1.NoBody:
		r.Size = 0
	case h1.Length:
		r.Size = x.Request.Length
	}
	for _, f := range x.offered(auth) {
		if len(auth.RequestFields) == 0 || slices.ContainsFunc(auth.RequestFields, func(n string) bool { return strings.EqualFold(n, f.Name) }) {
			r.Fields = append(r.Fields, f)
		}
	}
	r.ID = x.Report.RequestID
	return r.Append(make([]byte, messageHead, messageHead+1024))
}

// GRPCQuestion makes x the call that asks about the request of from. The message is that of
// Check, and is the payload of x, once this has filled its head.
func (x *Exchange) GRPCQuestion(from *Exchange, auth *router.ExternalAuth, message []byte, limit time.Duration) {
	x.question(from, auth)
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-messageHead))
	x.Request.Method, x.Request.Length = http.MethodPost, int64(len(message))
	x.Request.Path, x.Request.Target, x.Match.Path = extauthz.Method, extauthz.Method, extauthz.Method
	x.Request.Fields = []router.Field{{Name: "TE", Value: "trailers"}}
	x.fields = append(x.fields[:0],
		router.Field{Name: "Host"}, // the endpoint
		router.Field{Name: "Content-Type", Value: grpcType},
		router.Field{Name: "Grpc-Timeout", Value: strconv.FormatInt(max(1, limit.Milliseconds()), 10) + "m"},
	)
}

var errNotGranted = errors.New("no consent")

// Checked notes what a server has answered to a call: its response's fields and trailers,
// and its payload. It returns false, and what the client is told, unless the server
// consents. The error says that there is no answer.
func (x *Exchange) Checked(auth *router.ExternalAuth, fields, trailers []router.Field, payload []byte) (refusal Answer, granted bool, err error) {
	code, ok := router.Lookup(trailers, "Grpc-Status")
	if !ok {
		code, _ = router.Lookup(fields, "Grpc-Status")
	}
	if code != "0" || len(payload) < messageHead || payload[0] != 0 || int64(binary.BigEndian.Uint32(payload[1:])) != int64(len(payload)-messageHead) {
		return Answer{}, false, errNotGranted
	}
	r, err := extauthz.Read(payload[messageHead:])
	if err != nil {
		return Answer{}, false, err
	}
	if !r.Granted {
		return Refuse(r.Status, slices.DeleteFunc(r.Fields, unfit), r.Body), false, nil
	}
	g := grant{}
	for _, name := range r.Remove {
		g = append(g, router.Field{Name: name, Value: withheld})
	}
	g = append(g, r.Set...)
	for _, f := range r.Append { // behind what is there
		if !slices.ContainsFunc(g, named(f.Name)) {
			for _, was := range x.offered(auth) {
				if strings.EqualFold(was.Name, f.Name) {
					g = append(g, router.Field{Name: strings.Clone(was.Name), Value: strings.Clone(was.Value)})
				}
			}
		}
		g = append(g, f)
	}
	x.grant(slices.DeleteFunc(g, func(f router.Field) bool { return f.Value != withheld && unfit(f) || unfit(router.Field{Name: f.Name}) }))
	x.granted.response = append(x.granted.response, slices.DeleteFunc(r.Respond, unfit)...)
	return Answer{}, true, nil
}

// unfit reports a field that nobody but us may write.
func unfit(f router.Field) bool { return !forwardable(&f) }
