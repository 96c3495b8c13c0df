package tls13

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// keys protect the records of one direction, sent or received.
type keys struct {
	aead cipher.AEAD
	// sequence is the number of records so far with this key (RFC 8446 §5.3).
	sequence uint64
	iv       [nonceSize]byte
	// nonce is that of one record. It lives here because what goes to a method of
	// an interface would be allocated.
	nonce [nonceSize]byte
	// secret is the traffic secret, of which suite.hashSize bytes are used.
	secret [maxHashSize]byte
}

// set derives everything from a traffic secret of suite.hashSize bytes, which is
// copied, and begins at the first record.
func (k *keys) set(s suite, secret []byte) error {
	aead, err := s.aead(secret)
	if err != nil {
		return err
	}
	s.expandLabel(k.iv[:], secret, "iv")
	k.aead = aead
	k.sequence = 0
	copy(k.secret[:], secret)
	return nil
}

// update changes to the next generation of keys (RFC 8446 §7.2).
func (k *keys) update(s suite) {
	next := make([]byte, s.hashSize())
	s.expandLabel(next, k.secret[:len(next)], "traffic upd")
	if err := k.set(s, next); err != nil {
		// The same cipher was made before, for the first keys.
		panic(fmt.Sprintf("tls13: update keys: %v", err))
	}
}

// next returns the nonce of the record that comes next (RFC 8446 §5.3).
func (k *keys) next() []byte {
	k.nonce = k.iv
	tail := k.nonce[nonceSize-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^k.sequence)
	return k.nonce[:]
}

// open decrypts a whole record and appends what was in it to dst, with content
// type and padding. Dst begins to grow at the record's payload, exactly, or away
// from it. The sequence goes on only when the record is authentic; if not, the
// room behind dst is overwritten nevertheless.
func (k *keys) open(dst, record []byte) ([]byte, error) {
	dst, err := k.aead.Open(dst, k.next(), record[headerSize:], record[:headerSize])
	if err != nil {
		return nil, err
	}
	k.sequence++
	return dst, nil
}

// seal makes buf[start:] a protected record. There stand headerSize bytes, which
// are overwritten, and the plaintext of at most MaxPlaintext bytes.
func (k *keys) seal(buf []byte, start int, contentType byte) []byte {
	buf = append(buf, contentType)
	header, inner := buf[start:start+headerSize], buf[start+headerSize:]
	size := len(inner) + tagSize
	header[0] = typeApplicationData
	binary.BigEndian.PutUint16(header[1:], legacyVersion)
	binary.BigEndian.PutUint16(header[3:], uint16(size))
	buf = k.aead.Seal(buf[:start+headerSize], k.next(), inner, header)
	k.sequence++
	return buf
}
