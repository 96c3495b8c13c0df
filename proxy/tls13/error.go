package tls13

import "crypto/tls"

// Alerts that are sent or treated specially (RFC 8446 §6).
const (
	alertCloseNotify       tls.AlertError = 0
	alertUnexpectedMessage tls.AlertError = 10
	alertBadRecordMAC      tls.AlertError = 20
	alertRecordOverflow    tls.AlertError = 22
	alertIllegalParameter  tls.AlertError = 47
	alertDecodeError       tls.AlertError = 50
	alertUserCanceled      tls.AlertError = 90
)

// Levels of alerts. A receiver goes by the description alone (RFC 8446 §6).
const (
	levelWarning = 1
	levelFatal   = 2
)

// ProtocolError is what the peer did wrong. The session can't be read any
// further, and [Session.AppendClose] tells the peer.
type ProtocolError struct {
	Alert tls.AlertError
	// Reason is in English and holds none of the peer's bytes.
	Reason string
}

// Error returns the alert and the reason.
func (e *ProtocolError) Error() string { return e.Alert.Error() + ": " + e.Reason }

// ReceivedAlert is the alert with which the peer ended the session in an error.
type ReceivedAlert struct {
	Alert tls.AlertError
}

// Error returns the alert.
func (e *ReceivedAlert) Error() string { return "peer ended the session: " + e.Alert.Error() }

// Unwrap returns the alert.
func (e *ReceivedAlert) Unwrap() error { return e.Alert }
