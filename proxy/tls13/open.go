package tls13

import (
	"crypto/tls"
	"encoding/binary"
	"io"
)

// maxIdle is how many empty records and key updates a peer may send in a row: work
// for us that is next to free for the peer. It is the limit of crypto/tls.
const maxIdle = 16

// Open reads the record at the beginning of p. It returns how many bytes that
// took, 0 as long as the record has not come whole (then the record's beginning
// must stand in p again, and a p of [MaxRecord] bytes is always enough), and the
// data, if it carried any. The data was decrypted in place: it lies within p[:n],
// and is valid as long as that is left alone.
//
// An error means that nothing more can be read, and comes again on every later
// call: io.EOF when the peer has closed its side properly, a [*ReceivedAlert] or
// a [*ProtocolError]. The end of the stream without an io.EOF before means that
// an attacker may have cut something off (RFC 8446 §6.1).
func (s *Session) Open(p []byte) (data []byte, n int, err error) {
	if len(p) < headerSize {
		return nil, 0, s.err
	}
	data, n, err = s.AppendOpen(p[headerSize:headerSize], p)
	return data[:len(data):len(data)], n, err // what follows is the next record
}

// AppendOpen is Open, but appends the data to dst. What is behind dst may not
// overlap p; it is written to up to the length of the record, also when the data
// is shorter or there is none. AppendOpen allocates only when dst has less room
// than that.
func (s *Session) AppendOpen(dst, p []byte) (extended []byte, n int, err error) {
	if s.err != nil || len(p) < headerSize {
		return dst, 0, s.err
	}
	// The version is to be ignored (RFC 8446 §5.1), but is authenticated.
	if p[0] != typeApplicationData {
		return dst, 0, s.fail(alertUnexpectedMessage, "record without protection")
	}
	size := int(binary.BigEndian.Uint16(p[3:]))
	if size > maxCiphertext {
		return dst, 0, s.fail(alertRecordOverflow, "record too long")
	}
	n = headerSize + size
	if len(p) < n {
		return dst, 0, nil
	}
	opened, err := s.in.open(dst, p[:n])
	if err != nil {
		return dst, 0, s.fail(alertBadRecordMAC, "record not authentic")
	}
	inner := opened[len(dst):]
	if len(inner) > MaxPlaintext+1 {
		return dst, 0, s.fail(alertRecordOverflow, "plaintext too long")
	}
	data, err := s.openInner(inner)
	return opened[:len(dst)+data], n, err
}

// openInner takes a TLSInnerPlaintext (RFC 8446 §5.2): content, type, zeros. It
// returns how many bytes of it are data.
func (s *Session) openInner(inner []byte) (int, error) {
	end := len(inner)
	for end > 0 && inner[end-1] == 0 {
		end--
	}
	if end == 0 {
		return 0, s.fail(alertUnexpectedMessage, "record without a content type")
	}
	contentType, content := inner[end-1], inner[:end-1]
	if s.messageSize > 0 && contentType != typeHandshake {
		return 0, s.fail(alertUnexpectedMessage, "record inside a handshake message")
	}
	switch contentType {
	case typeApplicationData:
		if len(content) > 0 {
			s.idle = 0
			return len(content), nil
		}
		return 0, s.countIdle()
	case typeHandshake:
		return 0, s.openHandshake(content)
	case typeAlert:
		return 0, s.openAlert(content)
	default:
		return 0, s.fail(alertUnexpectedMessage, "unknown content type")
	}
}

// countIdle counts a record, or a message, that has brought no data.
func (s *Session) countIdle() error {
	s.idle++
	if s.idle > maxIdle {
		return s.fail(alertUnexpectedMessage, "too many records without data")
	}
	return nil
}

// openAlert takes the content of an alert record: one whole alert (RFC 8446 §5.1).
func (s *Session) openAlert(content []byte) error {
	if len(content) != 2 {
		return s.fail(alertDecodeError, "alert of a wrong length")
	}
	switch alert := tls.AlertError(content[1]); alert {
	case alertCloseNotify:
		s.err = io.EOF
	case alertUserCanceled:
		return s.countIdle() // a close_notify follows, or nothing: Java means nothing by it
	default:
		s.err = &ReceivedAlert{Alert: alert}
	}
	return s.err
}

// fail ends what can be read.
func (s *Session) fail(alert tls.AlertError, reason string) error {
	s.err = &ProtocolError{Alert: alert, Reason: reason}
	return s.err
}
