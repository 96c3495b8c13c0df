package acme

import (
	"context"
	"errors"
)

// Storage keeps what has to outlive a process and be seen by all replicas. Its
// methods are called by several goroutines at once.
//
// Keys of documents and locks are at most 63 lower-case letters, digits and hyphens,
// and begin and end with a letter or digit: they can be names of objects and files.
type Storage interface {
	// Load returns what is kept under name, and nil without an error when there is
	// nothing. It must see what any replica saved before it held the lock that the
	// caller holds.
	Load(ctx context.Context, name Name) (*Stored, error)
	// Save replaces what is kept under name. It returns an error that wraps
	// [ErrForeign] when something that is not ours is kept there.
	Save(ctx context.Context, name Name, stored *Stored) error

	// Document returns what SaveDocument kept: accounts with their keys, and orders
	// under way with the keys of their certificates, so as secret as a certificate's
	// key. It returns nil without an error when there is nothing.
	Document(ctx context.Context, key string) ([]byte, error)
	// SaveDocument replaces a document of some kilobytes; nil deletes it, which is
	// no error when there is none.
	SaveDocument(ctx context.Context, key string, document []byte) error

	// Lock waits until no other holder has key, in this process or another, or until
	// ctx ends. A holder that died is succeeded after a while. held ends when ctx
	// does, or when the lock is lost; unlock gives it back and may be called once.
	Lock(ctx context.Context, key string) (held context.Context, unlock func(), err error)

	// Present makes all replicas answer a challenge, and returns when they do as far
	// as can be known. It is called again after a restart.
	Present(ctx context.Context, challenge Challenge) error
	// Withdraw ends that; it is no error when the challenge is not presented.
	Withdraw(ctx context.Context, challenge Challenge) error
}

// ErrForeign says that what is kept under a name was made by somebody else.
var ErrForeign = errors.New("it was not made by Lintel and is left as it is")

// Stored is a certificate as it is kept.
type Stored struct {
	// CertPEM is the chain, leaf first; KeyPEM its key, PKCS #8.
	CertPEM, KeyPEM []byte
	// Annotations say more, for us and for people; their keys are those below.
	Annotations map[string]string
	// Owned tells that we made it, and may replace it. Save ignores it.
	Owned bool
}

// Keys of Stored.Annotations.
const (
	// AnnotationIssuer is the name of the Issuer.
	AnnotationIssuer = "lintel.dev/issuer"
	// AnnotationDirectory is the URL of the CA's directory.
	AnnotationDirectory = "lintel.dev/acme-directory"
)

// Types of challenges (RFC 8555 §9.7.8).
const (
	ChallengeHTTP01    = "http-01"
	ChallengeTLSALPN01 = "tls-alpn-01"
	ChallengeDNS01     = "dns-01"
)

// Challenge is a question that the CA will ask any replica.
type Challenge struct {
	// Type is ChallengeHTTP01 or ChallengeTLSALPN01.
	Type string
	// Identifier is the DNS name in question: the host asked on port 80, the server
	// name of the TLS handshake.
	Identifier string
	// Token is the last element of the path that an HTTP-01 challenge is asked for,
	// and KeyAuthorization the body of the answer.
	Token, KeyAuthorization string
}

// Path is what an HTTP-01 challenge is asked for.
func (c Challenge) Path() string { return "/.well-known/acme-challenge/" + c.Token }
