// Package acme gets certificates from a certification authority by ACME (RFC 8555)
// and renews them. The control loop says which certificates are wanted
// ([Orders.Apply]); one replica orders them ([Orders.Run]); [Orders.States] says how
// each stands. Certificates, account keys and whatever an order needs after a
// restart are kept in a [Storage].
//
// Control of a name is proved by a DNS record ([DNS01], with Cloudflare or RFC 2136),
// or by an answer on port 80 or 443 ([HTTP01], [TLSALPN01]) that every replica gives
// for a [Challenge].
package acme
