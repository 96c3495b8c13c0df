package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// account is the document of an account at a CA.
type account struct {
	Directory string `json:"directory"`
	Email     string `json:"email,omitempty"`
	// URL is the CA's name of the account; "" until it is registered.
	URL string `json:"url,omitempty"`
	Key string `json:"key"` // PKCS #8, PEM
}

// documentKey makes the key of a document or lock from what it is about.
func documentKey(kind string, about ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(about, "\n")))
	return kind + "-" + hex.EncodeToString(sum[:16])
}

func (i *issuer) accountKey() string {
	external := ""
	if i.ExternalAccount != nil {
		external = i.ExternalAccount.ID
	}
	return documentKey("account", i.Directory, i.Email, external)
}

// account returns the issuer's account, which it registers if there is none. Of
// several replicas one registers.
func (a *attempt) account(ctx context.Context) (acme.Account, error) {
	key := a.issuer.accountKey()
	found, err := loadAccount(ctx, a.storage, key)
	if err != nil {
		return acme.Account{}, err
	}
	if found != nil && found.URL != "" {
		return found.client()
	}
	ctx, unlock, err := a.storage.Lock(ctx, key)
	if err != nil {
		return acme.Account{}, fmt.Errorf("lock account: %w", err)
	}
	defer unlock()
	if found, err = loadAccount(ctx, a.storage, key); err != nil {
		return acme.Account{}, err
	}
	if found != nil && found.URL != "" {
		return found.client()
	}
	return a.register(ctx, found)
}

// register makes an account at the CA. Its key is saved before: whoever comes after
// a crash finds the same account with it (RFC 8555 §7.3).
func (a *attempt) register(ctx context.Context, kept *account) (acme.Account, error) {
	if kept == nil {
		key, err := newKey(defaultAlgorithm)
		if err != nil {
			return acme.Account{}, err
		}
		text, err := encodeKey(key)
		if err != nil {
			return acme.Account{}, err
		}
		kept = &account{Directory: a.issuer.Directory, Email: a.issuer.Email, Key: string(text)}
		if err := kept.save(ctx, a.storage, a.issuer.accountKey()); err != nil {
			return acme.Account{}, err
		}
	}
	registered, err := kept.client()
	if err != nil {
		return acme.Account{}, err
	}
	registered.TermsOfServiceAgreed = true
	if external := a.issuer.ExternalAccount; external != nil {
		mac, err := external.Key()
		if err != nil {
			return acme.Account{}, fmt.Errorf("read key of the external account: %w", err)
		}
		eab := acme.EAB{KeyID: external.ID, MACKey: strings.TrimRight(strings.TrimSpace(mac), "=")}
		if err := registered.SetExternalAccountBinding(ctx, a.client, eab); err != nil {
			return acme.Account{}, fmt.Errorf("bind external account: %w", err)
		}
	}
	if registered, err = a.client.NewAccount(ctx, registered); err != nil {
		return acme.Account{}, fmt.Errorf("register account: %w", err)
	}
	kept.URL = registered.Location
	return registered, kept.save(ctx, a.storage, a.issuer.accountKey())
}

// forgetAccount makes the next attempt register anew, with the same key, after the
// CA forgot the account.
func (a *attempt) forgetAccount(ctx context.Context) error {
	key := a.issuer.accountKey()
	kept, err := loadAccount(ctx, a.storage, key)
	if err != nil || kept == nil {
		return err
	}
	kept.URL = ""
	return kept.save(ctx, a.storage, key)
}

func loadAccount(ctx context.Context, storage Storage, key string) (*account, error) {
	text, err := storage.Document(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	if text == nil {
		return nil, nil
	}
	var kept account
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	return &kept, nil
}

func (k *account) save(ctx context.Context, storage Storage, key string) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode account: %w", err)
	}
	if err := storage.SaveDocument(ctx, key, text); err != nil {
		return fmt.Errorf("save account: %w", err)
	}
	return nil
}

// client returns the account as the library has it.
func (k *account) client() (acme.Account, error) {
	key, err := decodeKey([]byte(k.Key))
	if err != nil {
		return acme.Account{}, fmt.Errorf("read account: %w", err)
	}
	registered := acme.Account{Status: acme.StatusValid, Location: k.URL, PrivateKey: key}
	if k.URL == "" {
		registered.Status = ""
	}
	if k.Email != "" {
		registered.Contact = []string{"mailto:" + k.Email}
	}
	return registered, nil
}
