package tls13

// The one message after the handshake that is understood (RFC 8446 §4.6.3): type,
// three bytes of length, and whether the receiver is to update its keys as well.
const (
	typeKeyUpdate      = 24
	keyUpdateSize      = 5
	updateNotRequested = 0
	updateRequested    = 1
)

// appendKeyUpdate tells the peer that new keys follow, and changes to them.
func (s *Session) appendKeyUpdate(dst []byte) []byte {
	message := [keyUpdateSize]byte{typeKeyUpdate, 0, 0, 1, updateNotRequested}
	dst = s.appendRecord(dst, typeHandshake, message[:])
	s.out.update(s.suite)
	s.owesUpdate = false
	return dst
}

// openHandshake takes the content of a handshake record, which may be a part of
// a message. Our own update waits for the next Seal: RFC 8446 §4.6.3 wants it
// before the next data, and one for all requests that came meanwhile.
func (s *Session) openHandshake(content []byte) error {
	if len(content) == 0 {
		return s.fail(alertUnexpectedMessage, "empty handshake record")
	}
	n := copy(s.message[s.messageSize:], content)
	s.messageSize += uint8(n)
	if s.message[0] != typeKeyUpdate {
		return s.fail(alertUnexpectedMessage, "handshake message other than a key update")
	}
	if s.messageSize >= 4 && [3]byte(s.message[1:4]) != [3]byte{0, 0, 1} {
		return s.fail(alertDecodeError, "key update of a wrong length")
	}
	if s.messageSize < keyUpdateSize {
		return nil
	}
	if n < len(content) {
		// What follows must be protected by the new keys already (RFC 8446 §5.1).
		return s.fail(alertUnexpectedMessage, "record goes on after a key update")
	}
	switch s.message[4] {
	case updateNotRequested:
	case updateRequested:
		s.owesUpdate = true
	default:
		return s.fail(alertIllegalParameter, "unknown key update request")
	}
	s.messageSize = 0
	s.in.update(s.suite)
	return s.countIdle()
}
