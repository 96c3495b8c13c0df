package router

// ExternalAuth asks a server whether a request may go on (GEP-1494). Whatever the server
// does, but for its consent, ends the request: it never goes on because the server failed.
type ExternalAuth struct {
	// Backend is nil for a reference that does not resolve: nothing goes on.
	Backend  *Backend
	Protocol AuthProtocol
	// Path stands before the request's path when the server is asked; "" for none. It is
	// normalised, and has no slash at its end. It is for AuthHTTP.
	Path string
	// RequestFields names what the server is told beside Host and Authorization. With
	// AuthGRPC it names all that the server is told, and none means everything.
	RequestFields []string
	// ResponseFields names the fields of the server's consent that go upstream in the place of
	// the client's; none means all. It is for AuthHTTP.
	ResponseFields []string
	// MaxBody is how many bytes of body the server is sent; 0 sends none. A body that is
	// longer is refused.
	MaxBody int
	// AfterHeaders says that the request filter of the same Rule has its effect before:
	// the server gets to see it, and has the last word on what goes upstream.
	AfterHeaders bool
}

// AuthProtocol is how an authorization server is asked.
type AuthProtocol uint8

const (
	// AuthHTTP sends the request again, without its body unless MaxBody wants it; the status 200 is consent.
	AuthHTTP AuthProtocol = iota
	// AuthGRPC calls envoy.service.auth.v3.Authorization/Check.
	AuthGRPC
)
