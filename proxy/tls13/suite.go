package tls13

import (
	"crypto/aes"
	"crypto/cipher"
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

// maxInfo is the longest HkdfLabel that is used: 2+1+6+11+1 bytes.
const maxInfo = 24

// expandLabel is HKDF-Expand-Label without a context (RFC 8446 §7.1). It fills out, which is
// no longer than the hash.
func (s suite) expandLabel(out, secret []byte, label string) {
	const prefix = "tls13 "
	var buf [maxInfo]byte
	info := append(buf[:0], byte(len(out)>>8), byte(len(out)), byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, 0)
	// HKDF-Expand (RFC 5869 §2.3): this is its first block, and no more are needed.
	info = append(info, 1)
	if s.hashSize() == sha512.Size384 {
		sum := hmacSHA384(secret, info)
		copy(out, sum[:])
		return
	}
	sum := hmacSHA256(secret, info)
	copy(out, sum[:])
}

// The padding of HMAC (RFC 2104 §2).
const (
	innerPad = 0x36
	outerPad = 0x5c
)

// hmacSHA256 is HMAC of a short key and message. It allocates nothing, unlike crypto/hmac,
// and every connection needs several.
func hmacSHA256(key, message []byte) [sha256.Size]byte {
	var inner [sha256.BlockSize + maxInfo]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	pad(inner[:sha256.BlockSize], key, innerPad)
	pad(outer[:sha256.BlockSize], key, outerPad)
	sum := sha256.Sum256(append(inner[:sha256.BlockSize], message...))
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}

// hmacSHA384 is hmacSHA256 with another hash.
func hmacSHA384(key, message []byte) [sha512.Size384]byte {
	var inner [sha512.BlockSize + maxInfo]byte
	var outer [sha512.BlockSize + sha512.Size384]byte
	pad(inner[:sha512.BlockSize], key, innerPad)
	pad(outer[:sha512.BlockSize], key, outerPad)
	sum := sha512.Sum384(append(inner[:sha512.BlockSize], message...))
	copy(outer[sha512.BlockSize:], sum[:])
	return sha512.Sum384(outer[:])
}

// pad fills block with a key and what that is mixed with.
func pad(block, key []byte, with byte) {
	copy(block, key)
	for i := range block {
		block[i] ^= with
	}
}

// aead derives the key of a traffic secret (RFC 8446 §7.3) and returns the cipher.
// It fails where Go's FIPS 140 mode refuses a cipher.
func (s suite) aead(secret []byte) (cipher.AEAD, error) {
	key := make([]byte, 32)
	if s == aes128 {
		key = key[:16]
	}
	s.expandLabel(key, secret, "key")
	if s == chacha20 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}
