package tunnel

import (
	"crypto/x509"
	_ "embed"
)

// rootsPEM are the authorities of Cloudflare that the edge's certificates come from.
//
//go:embed roots.pem
var rootsPEM []byte

// EdgeRoots are the authorities that the edge's certificates may come from: Cloudflare's
// own, and the system's, as certificates of public ones have been seen there too.
func EdgeRoots() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // Cloudflare's alone will do
	}
	pool.AppendCertsFromPEM(rootsPEM)
	return pool
}
