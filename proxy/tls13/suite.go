package tls13

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is a cipher suite of TLS 1.3 by its registered number (RFC 8446 §B.4): an
// AEAD and the hash of the key schedule.
type suite uint16

const (
	aes128   suite = suite(tls.TLS_AES_128_GCM_SHA256)
	aes256   suite = suite(tls.TLS_AES_256_GCM_SHA384)
	chacha20 suite = suite(tls.TLS_CHACHA20_POLY1305_SHA256)
)

// maxHashSize is the size of the longest secret, which has the size of the hash.
const maxHashSize = sha512.Size384

// hashSize is the size of the hash and of all secrets in bytes; 0 means that the
// suite is unknown.
func (s suite) hashSize() int {
	switch s {
	case aes128, chacha20:
		return sha256.Size
	case aes256:
		return sha512.Size384
	default:
		return 0
	}
}

// expandLabel is HKDF-Expand-Label without a context (RFC 8446 §7.1).
func (s suite) expandLabel(secret []byte, label string, size int) ([]byte, error) {
	const prefix = "tls13 "
	info := make([]byte, 0, 32) // 2+1+6+11+1 bytes for the longest label that is used
	info = append(info, byte(size>>8), byte(size), byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, 0)
	if s.hashSize() == sha512.Size384 {
		return hkdf.Expand(sha512.New384, secret, string(info), size)
	}
	return hkdf.Expand(sha256.New, secret, string(info), size)
}

// aead derives the key of a traffic secret (RFC 8446 §7.3) and returns the cipher.
// It fails where Go's FIPS 140 mode refuses a cipher.
func (s suite) aead(secret []byte) (cipher.AEAD, error) {
	size := 32
	if s == aes128 {
		size = 16
	}
	key, err := s.expandLabel(secret, "key", size)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	if s == chacha20 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}
