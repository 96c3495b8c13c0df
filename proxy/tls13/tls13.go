// Package tls13 is the TLS 1.3 record layer (RFC 8446 §5) for an event loop that
// reads and writes its sockets itself. crypto/tls does the handshake, on a
// coroutine that may wait; after it [Server.Handshake] hands over a [Session],
// which turns records into plaintext and plaintext into records: pure code
// without I/O, goroutines, clock or, between key updates, allocation.
//
// A connection that cannot be handed over stays with crypto/tls, and nothing of
// it is lost: TLS 1.2, a cipher suite that is unknown here, anything unexpected.
//
// # How the handshake is handed over
//
// crypto/tls tells its traffic secrets to a KeyLogWriter alone, so every
// handshake of TLS 1.3 gets a shallow copy of the configuration with a writer of
// its own. Session tickets stay those of the one configuration (see [NewServer]).
//
// Both directions count their records, and a Session must go on at the right
// number. Reading: crypto/tls is given no byte behind the record that it is
// working on, so that it has read the client's Finished and nothing later when
// the handshake is done; what has come since is [Handshake.Unread]. Writing:
// session tickets are sent with the keys of the application's data. The server's
// last flights are kept, and the records in them that authenticate with those
// keys are counted: that needs no knowledge of what crypto/tls sends, and proves
// the keys.
//
// # In a loop
//
// What was read from the socket goes to [Session.AppendOpen], record by record,
// which puts the data of all of them together in one piece; the incomplete record
// at the end is kept for the next time. [Session.Seal] gives what is to be
// written. Nothing else has to be sent, ever, but [Session.AppendClose] at the end.
//
// # Limits
//
// 0-RTT is never accepted. Renegotiation does not exist in TLS 1.3; of the
// messages after a handshake only KeyUpdate is understood, and others end the
// session with an alert. A peer may send [maxIdle] records in a row
// that carry no data.
package tls13

// Sizes of records (RFC 8446 §5.1 and §5.2), in bytes.
const (
	// MaxPlaintext is the most that one record carries.
	MaxPlaintext = 1 << 14
	// MaxRecord is the longest record that a peer may send: what a buffer for
	// [Session.Open] must hold.
	MaxRecord = headerSize + maxCiphertext
	// Overhead is what a record adds to its plaintext: header, content type and
	// authentication tag.
	Overhead = headerSize + 1 + tagSize

	headerSize    = 5
	tagSize       = 16 // of every AEAD of TLS 1.3
	nonceSize     = 12 // likewise
	maxCiphertext = MaxPlaintext + 256
)

// Content types of records (RFC 8446 §5.1, appendix B.1).
const (
	typeAlert           = 21
	typeHandshake       = 22
	typeApplicationData = 23
)

// legacyVersion stands in the header of every record (RFC 8446 §5.2).
const legacyVersion = 0x0303
