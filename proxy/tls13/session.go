package tls13

import (
	"errors"
	"slices"
)

// maxSealed is the number of records after which the sending keys are updated.
// AES-GCM is good for 2^24.5 full records (RFC 8446 §5.5), ChaCha20-Poly1305 for
// more than anybody sends.
const maxSealed = 1 << 24

// A record can be used once it is there to its last byte. So the first ones of a
// connection are short: a client that TCP's slow start lets see ten segments in
// the first round trip (RFC 6928) can work on most of them, and the first 64 KiB
// need not be fast.
const (
	startRecords = 16
	startSize    = 4 << 10
)

// Session protects the records of one connection after its handshake. It does no
// I/O: bytes from the peer go to Open, and what Seal and AppendClose return goes
// to the peer, all of it and in that order. A Session needs about 2 KiB, with its
// ciphers. Its methods may not be called concurrently.
type Session struct {
	in, out keys
	suite   suite

	// err is what Open returned last, and from then on.
	err error
	// idle is the number of records received in a row without data.
	idle uint8
	// message is the beginning of a KeyUpdate that came in several records.
	message     [keyUpdateSize]byte
	messageSize uint8
	// owesUpdate is set while the peer waits for new keys of ours.
	owesUpdate bool

	// short is the number of short records that are still to be sent.
	short uint8
	// closed is set once our side has ended.
	closed bool
}

// newSession makes the Session that receives and sends with these traffic
// secrets, each of s.hashSize bytes, from the first record on.
func newSession(s suite, receive, send []byte) (*Session, error) {
	session := &Session{suite: s, short: startRecords}
	if err := errors.Join(session.in.set(s, receive), session.out.set(s, send)); err != nil {
		return nil, err
	}
	return session, nil
}

// Seal appends plaintext to dst in as many records as it takes; none when it is
// empty. It doesn't allocate when dst has room for [SealedSize] of it. The slices
// may not overlap. After AppendClose nothing can be sent, and dst is returned as
// it is.
//
// Seal updates the keys when a peer has asked for that or they have served long
// enough (RFC 8446 §4.6.3 and §5.5).
func (s *Session) Seal(dst, plaintext []byte) []byte {
	if s.closed || len(plaintext) == 0 {
		return dst
	}
	dst = slices.Grow(dst, SealedSize(len(plaintext)))
	for len(plaintext) > 0 {
		if s.owesUpdate || s.out.sequence >= maxSealed {
			dst = s.appendKeyUpdate(dst)
		}
		n := min(len(plaintext), s.recordSize())
		start := len(dst)
		dst = append(dst, make([]byte, headerSize)...)
		dst = append(dst, plaintext[:n]...)
		dst = s.out.seal(dst, start, typeApplicationData)
		plaintext = plaintext[n:]
	}
	return dst
}

// SealedSize is how long n bytes of plaintext get by Seal at most, in bytes.
func SealedSize(n int) int {
	short := min((n+startSize-1)/startSize, startRecords)
	return n + Overhead*(short+n/MaxPlaintext+1) + keyUpdateSize + Overhead
}

// recordSize is how much plaintext goes into the next record, in bytes.
func (s *Session) recordSize() int {
	if s.short > 0 {
		s.short--
		return startSize
	}
	return MaxPlaintext
}

// AppendClose ends our side: it appends the alert that the error of Open asks
// for, or else close_notify (RFC 8446 §6). Nothing follows it. The peer may go on
// sending after a close_notify, and Open goes on to read. It appends nothing the
// second time, or after an alert of the peer that was an error.
func (s *Session) AppendClose(dst []byte) []byte {
	if s.closed {
		return dst
	}
	s.closed = true
	alert := [2]byte{levelWarning, byte(alertCloseNotify)}
	switch err := s.err.(type) { //nolint:errorlint // set by Open, as it is
	case *ProtocolError:
		alert = [2]byte{levelFatal, byte(err.Alert)}
	case *ReceivedAlert:
		return dst // RFC 8446 §6.2: both sides send nothing any more
	}
	return s.appendRecord(dst, typeAlert, alert[:])
}

// appendRecord seals content, which fits in one record.
func (s *Session) appendRecord(dst []byte, contentType byte, content []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	dst = append(dst, content...)
	return s.out.seal(dst, start, contentType)
}
