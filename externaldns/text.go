package externaldns

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// heritage is what every mark begins with, whichever program wrote it.
const heritage = "external-dns"

// claim is what a mark says.
type claim struct{ owner, resource string }

// text is what a mark of this claim holds.
func (c claim) text() string {
	text := "heritage=" + heritage + "," + heritage + "/owner=" + c.owner
	if c.resource != "" {
		text += "," + heritage + "/resource=" + c.resource
	}
	return text
}

// parseClaim reads a text. It is false for a text that is no mark.
func parseClaim(text string) (claim, bool) {
	var c claim
	found := false
	for token := range strings.SplitSeq(strings.Trim(text, `"`), ",") {
		key, value, _ := strings.Cut(token, "=")
		switch key {
		case "heritage":
			if value != heritage {
				return claim{}, false
			}
			found = true
		case heritage + "/owner":
			c.owner = value
		case heritage + "/resource":
			c.resource = value
		}
	}
	return c, found
}

// isMark tells whether a text would be read as a mark.
func isMark(text string) bool {
	_, is := parseClaim(text)
	return is
}

// sealer encrypts texts by AES-256-GCM: the nonce, and then what gzip made of the text,
// as base64 together.
type sealer struct{ aead cipher.AEAD }

const sealKeySize = 32

// newSealer takes a key of 32 bytes, as it is or as base64.
func newSealer(key string) (*sealer, error) {
	raw := []byte(key)
	if len(raw) != sealKeySize {
		decoded, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(decoded) != sealKeySize {
			return nil, errors.New("the key that encrypts marks must have 32 bytes, as they are or in base64")
		}
		raw = decoded
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &sealer{aead}, nil
}

// seal encrypts a text with a new nonce, so that it comes out differently each time.
func (s *sealer) seal(text string) string {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		panic(err) // the level exists
	}
	_, err = w.Write([]byte(text))
	if err := errors.Join(err, w.Flush(), w.Close()); err != nil {
		panic(err) // a Buffer takes everything
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nonce, nonce, compressed.Bytes(), nil))
}

// maxText bounds what a text may grow to when it is opened: those of marks are short.
const maxText = 64 << 10

// open decrypts what seal made.
func (s *sealer) open(sealed string) (string, bool) {
	data, err := base64.StdEncoding.DecodeString(strings.Trim(sealed, `"`))
	if err != nil || len(data) <= s.aead.NonceSize() {
		return "", false
	}
	nonce, data := data[:s.aead.NonceSize()], data[s.aead.NonceSize():]
	if data, err = s.aead.Open(nil, nonce, data, nil); err != nil {
		return "", false
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", false
	}
	text, err := io.ReadAll(io.LimitReader(r, maxText))
	return string(text), err == nil
}
