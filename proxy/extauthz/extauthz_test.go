package extauthz

import (
	"net/netip"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lintel-dev/lintel/router"
)

// TestAppend compares what is written with what Envoy's own definitions read.
func TestAppend(t *testing.T) {
	at := time.Unix(1_800_000_000, 5)
	r := Request{
		Source: netip.MustParseAddrPort("192.0.2.1:4000"), Destination: netip.MustParseAddrPort("[2001:db8::1]:443"),
		Time: at, ID: "id", Method: "POST", Path: "/a?b=c", Host: "example.com", Scheme: "https", Protocol: "HTTP/2.0",
		Fields: []router.Field{{Name: "X-A", Value: "1"}, {Name: "B", Value: "\xff"}, {Name: "x-a", Value: "2"}},
		Size:   -1, Body: []byte("text"), ServerName: "sni.example.com",
	}
	peer := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	want := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("192.0.2.1", 4000), Destination: peer("2001:db8::1", 443),
		TlsSession: &authv3.AttributeContext_TLSSession{Sni: "sni.example.com"},
		Request: &authv3.AttributeContext_Request{Time: timestamppb.New(at), Http: &authv3.AttributeContext_HttpRequest{
			Id: "id", Method: "POST", Path: "/a?b=c", Host: "example.com", Scheme: "https", Protocol: "HTTP/2.0",
			Headers: map[string]string{"x-a": "1,2", "b": "\uFFFD"}, Size: -1, Body: "text",
		}},
	}}
	got := &authv3.CheckRequest{}
	if err := proto.Unmarshal(r.Append(nil), got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func headerOption(name, value string, appends bool) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, Append: wrapperspb.Bool(appends)} //nolint:staticcheck // What servers send.
}

func TestRead(t *testing.T) {
	granted := &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers:         []*corev3.HeaderValueOption{headerOption("A", "1", false), headerOption("B", "2", true), {Header: &corev3.HeaderValue{Key: "C", RawValue: []byte("3")}}},
		HeadersToRemove: []string{"D"}, ResponseHeadersToAdd: []*corev3.HeaderValueOption{headerOption("E", "5", false)},
	}}}
	denied := func(status int32, code typev3.StatusCode) *authv3.CheckResponse {
		return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: status, Message: "no"}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: code}, Body: "no", Headers: []*corev3.HeaderValueOption{headerOption("A", "1", false)}},
		}}
	}
	for name, test := range map[string]struct {
		message *authv3.CheckResponse
		want    Response
	}{
		"granted": {granted, Response{
			Granted: true, Status: 403, Set: []router.Field{{Name: "A", Value: "1"}, {Name: "C", Value: "3"}}, Append: []router.Field{{Name: "B", Value: "2"}},
			Remove: []string{"D"}, Respond: []router.Field{{Name: "E", Value: "5"}},
		}},
		"empty":               {&authv3.CheckResponse{}, Response{Granted: true, Status: 403}},
		"denied":              {denied(7, typev3.StatusCode_Unauthorized), Response{Status: 401, Fields: []router.Field{{Name: "A", Value: "1"}}, Body: []byte("no")}},
		"denied as a success": {denied(7, typev3.StatusCode_OK), Response{Status: 403, Fields: []router.Field{{Name: "A", Value: "1"}}, Body: []byte("no")}},
		"a status alone":      {&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 16}}, Response{Status: 403}},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := proto.Marshal(test.message)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(message)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	query, _ := proto.Marshal(&authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{QueryParametersToRemove: []string{"a"}}}})
	for _, message := range [][]byte{query, {0x0a}, {0x0a, 0x05, 1}, {0xff}} {
		if r, err := Read(message); err == nil {
			t.Errorf("%x is read as %+v", message, r)
		}
	}
}

// FuzzRead holds that nothing is a consent here which is none by Envoy's own definitions.
func FuzzRead(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x02, 0x08, 0x07})
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := Read(message)
		theirs := &authv3.CheckResponse{}
		if err == nil && r.Granted && proto.Unmarshal(message, theirs) == nil && theirs.GetStatus().GetCode() != 0 {
			t.Errorf("%x is read as a consent", message)
		}
	})
}
