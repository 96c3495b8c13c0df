package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"slices"
)

// SetTicketKeys gives the keys of session tickets: the first seals new ones, all open
// those that clients bring (RFC 8446 §4.6.1). Servers that have the same keys resume
// each other's sessions, each socket those of the one with its name. It may be called
// at any time; without it, and before, each socket makes keys of its own. At least one
// key is needed.
func (s *Server) SetTicketKeys(keys [][32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticketKeys = slices.Clone(keys)
	for _, sock := range s.sockets {
		sock.followTicketKeys()
	}
}

// followTicketKeys takes over the Server's ticket keys. The caller holds the Server's mu.
func (s *socket) followTicketKeys() {
	if len(s.server.ticketKeys) == 0 {
		return
	}
	keys := make([][32]byte, len(s.server.ticketKeys))
	for i, key := range s.server.ticketKeys {
		keys[i] = s.ticketKey(key)
	}
	configs := []*tls.Config{s.tls, s.streamTLS}
	if h3 := s.h3.Load(); h3 != nil {
		configs = append(configs, h3.config)
	}
	for _, config := range configs {
		config.SetSessionTicketKeys(keys)
	}
}

// ticketKey is the socket's own: what one socket asks of clients was not asked of those
// with tickets of another.
func (s *socket) ticketKey(shared [32]byte) [32]byte {
	mac := hmac.New(sha256.New, shared[:])
	mac.Write([]byte("session tickets of " + s.name))
	return [32]byte(mac.Sum(nil))
}
