// Package tls says which certificate answers a TLS handshake. The data plane asks
// a [Store] by the name of the listening socket and the client's server name
// (SNI, RFC 6066 §3); the control loop replaces what the Store knows, at any time
// and without a lock on the path of a handshake.
//
// Importers call it edgetls, beside crypto/tls.
package tls
