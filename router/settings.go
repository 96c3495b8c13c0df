package router

// BackendSettings say how a Backend is used. They are fixed when it is made, so that
// a request reads them without a lock: other settings make another Backend. The zero
// BackendSettings are HTTP/1.1 in the clear.
type BackendSettings struct {
	Protocol Protocol
	// TLS is set for HTTPS, and for nothing else.
	TLS *BackendTLS
}

// Equal reports whether a Backend made with s need not be replaced by one with o.
func (s *BackendSettings) Equal(o *BackendSettings) bool {
	return s.Protocol == o.Protocol && s.TLS.Equal(o.TLS)
}

// check panics on settings that no Backend can have.
func (s *BackendSettings) check() {
	if (s.TLS != nil) != (s.Protocol == HTTPS) {
		panic("router: a Backend has BackendTLS if, and only if, it speaks HTTPS")
	}
	if s.TLS != nil && s.TLS.ServerName == "" {
		panic("router: BackendTLS without a ServerName recognises nobody")
	}
}
