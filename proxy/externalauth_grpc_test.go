package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lintel-dev/lintel/router"
)

// checker is an authorization server as Envoy has them.
type checker func(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)

func (c checker) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return c(ctx, r)
}

func checkBackend(t *testing.T, check checker) *router.Backend {
	t.Helper()
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, check)
	return serveGRPC(t, server)
}

func option(name, value string, appends bool) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, Append: wrapperspb.Bool(appends)} //nolint:staticcheck // What servers send.
}

// TestExternalAuthGRPC asks a server that is made from Envoy's own definitions.
func TestExternalAuthGRPC(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		asked := make(chan *authv3.AttributeContext, 10)
		auth := checkBackend(t, func(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
			if until, ok := ctx.Deadline(); !ok || time.Until(until) > maxAuthTime {
				t.Errorf("the call ends at %v", until)
			}
			asked <- r.Attributes
			path, _, _ := strings.Cut(r.Attributes.Request.Http.Path, "?")
			switch path {
			case "/granted":
				return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
					Headers:              []*corev3.HeaderValueOption{option("X-User", "alice", false), option("X-List", "2", true), option("Host", "other.test", false)},
					HeadersToRemove:      []string{"x-secret"},
					ResponseHeadersToAdd: []*corev3.HeaderValueOption{option("X-From", "auth", false)},
				}}}, nil
			case "/denied":
				return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Body: "who are you?",
					Headers: []*corev3.HeaderValueOption{option("WWW-Authenticate", "Basic", false)},
				}}}, nil
			case "/plainly":
				return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.Unauthenticated)}}, nil
			case "/query":
				return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
					QueryParametersToRemove: []string{"token"},
				}}}, nil
			case "/empty":
				return &authv3.CheckResponse{}, nil
			default:
				return nil, errors.New("broken")
			}
		})
		app := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, "user=", r.Header["X-User"], " list=", r.Header["X-List"], " secret=", r.Header["X-Secret"], " other=", r.Host == "other.test")
		})
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth, Protocol: router.AuthGRPC, MaxBody: 100}
		g.apply()
		for path, want := range map[string]struct {
			status int
			body   string
		}{
			"/granted": {200, "user=[alice] list=[1 2] secret=[] other=false"}, "/empty": {200, "user=[mallory] list=[1] secret=[x] other=false"},
			"/denied": {401, "who are you?"}, "/plainly": {403, ""}, "/query": {503, ""}, "/broken": {503, ""},
		} {
			req, _ := http.NewRequest("POST", g.url(path+"?q=1"), strings.NewReader("\xff body"))
			for name, value := range map[string]string{"X-User": "mallory", "X-List": "1", "X-Secret": "x", "Content-Type": "text/mine"} {
				req.Header.Set(name, value)
			}
			res, body := g.do(req)
			if res.StatusCode != want.status || want.body != "" && body != want.body {
				t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode, body, want.status, want.body)
			}
			if path == "/granted" && res.Header.Get("X-From") != "auth" || path == "/denied" && res.Header.Get("WWW-Authenticate") != "Basic" {
				t.Errorf("%s: %v", path, res.Header)
			}
			told := <-asked
			h := told.Request.Http
			if h.Method != "POST" || h.Path != path+"?q=1" || h.Host != req.URL.Host || h.Size != 6 || string(h.RawBody) != "\xff body" || h.Id == "" {
				t.Errorf("%s: the server was told %v", path, h)
			}
			if h.Headers["x-user"] != "mallory" || h.Headers["content-type"] != "text/mine" || h.Headers["x-forwarded-for"] != "127.0.0.1" {
				t.Errorf("%s: the server was told of %v", path, h.Headers)
			}
			if source := told.Source.Address.GetSocketAddress(); source.GetAddress() != "127.0.0.1" || source.GetPortValue() == 0 || told.Request.Time.AsTime().IsZero() {
				t.Errorf("%s: the client is %v", path, told.Source)
			}
		}
	})
}

// TestExternalAuthGRPCFields: what the server is told can be limited.
func TestExternalAuthGRPCFields(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		auth := checkBackend(t, func(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
			if h := r.Attributes.Request.Http; len(h.Headers) != 1 || h.Headers["x-user"] != "a,b" || h.Body != "" || h.Size != 0 {
				t.Errorf("the server was told %v", h)
			}
			return &authv3.CheckResponse{}, nil
		})
		app, reached := countingApp(t)
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth, Protocol: router.AuthGRPC, RequestFields: []string{"x-user"}}
		g.apply()
		req, _ := http.NewRequest("GET", g.url("/"), nil)
		req.Header["X-User"] = []string{"a", "b"}
		if res, _ := g.do(req); res.StatusCode != 200 || reached.Load() != 1 {
			t.Errorf("%d", res.StatusCode)
		}
	})
}
