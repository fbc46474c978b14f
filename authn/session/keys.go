package session

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authn"

	"github.com/gorilla/securecookie"
)

// The uses of this package's keys. No key serves two purposes: a value sealed
// for one is noise to the other.
const (
	useCookie  = "cookie"
	useSecret  = "session-secret" // refresh and ID tokens at rest
	useDevice  = "device"
	useHandoff = "handoff" // binds and codes, each with its own name authenticated

	keysKept    = 3
	devicesKept = 16 // of keys for device cookies: those open nothing, and live for a year
	keySize     = 32 // AES-256
	reloadAtMin = time.Second
)

var uses = []string{useCookie, useSecret, useDevice, useHandoff}

func kept(use string) int {
	if use == useDevice {
		return devicesKept
	}
	return keysKept
}

var errSealed = errors.New("sealed value does not open")

// ring holds the keys in memory: newest first, the newest seals, all open.
type ring struct {
	store authn.KeyStore
	clock clock
	keys  atomic.Pointer[keySet]

	mu       sync.Mutex // one reload at a time; guards the two below
	reloaded time.Time
	failed   error // of the last reload
}

type keySet struct {
	cookies  []securecookie.Codec
	devices  []securecookie.Codec
	secrets  []cipher.AEAD
	handoffs []cipher.AEAD
}

func (g *ring) init(ctx context.Context) error {
	for _, use := range uses {
		ks, err := g.store.Keys(ctx, use)
		if err != nil {
			return err
		}
		if len(ks) > 0 {
			continue
		}
		if _, err := g.store.AddFirstKey(ctx, g.fresh(use)); err != nil {
			return err
		}
	}
	return g.reload(ctx)
}

func (g *ring) fresh(use string) authn.Key {
	secret := make([]byte, keySize)
	rand.Read(secret) // never fails (crypto/rand, Go 1.24)
	return authn.Key{ID: rand.Text(), Use: use, Secret: secret, CreatedAt: g.clock.now()}
}

func (g *ring) rotate(ctx context.Context) error {
	for _, use := range uses {
		if err := g.store.AddKey(ctx, g.fresh(use), kept(use)); err != nil {
			return err
		}
	}
	return g.reload(ctx)
}

// reload reads the ring from the store. On an error the old ring stays.
func (g *ring) reload(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reloadLocked(ctx)
}

func (g *ring) reloadLocked(ctx context.Context) error {
	g.reloaded = g.clock.now()
	set, err := g.loadAll(ctx)
	if g.failed = err; err != nil {
		return err
	}
	g.keys.Store(&set)
	return nil
}

// reloadSoon reloads the keys for a value that no key opens: another process may have
// just rotated them. Any client can send such values, so the store is read at most once a
// second; in between the last outcome holds.
func (g *ring) reloadSoon(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.clock.now().Sub(g.reloaded); d >= 0 && d < reloadAtMin {
		return g.failed
	}
	return g.reloadLocked(ctx)
}

func (g *ring) loadAll(ctx context.Context) (set keySet, err error) {
	if set.cookies, err = g.codecs(ctx, useCookie); err != nil {
		return set, err
	}
	if set.devices, err = g.codecs(ctx, useDevice); err != nil {
		return set, err
	}
	if set.handoffs, err = g.load(ctx, useHandoff); err != nil {
		return set, err
	}
	set.secrets, err = g.load(ctx, useSecret)
	return set, err
}

func (g *ring) codecs(ctx context.Context, use string) (list []securecookie.Codec, err error) {
	keys, err := g.load(ctx, use)
	for _, a := range keys {
		list = append(list, codec{a})
	}
	return list, err
}

func (g *ring) load(ctx context.Context, use string) ([]cipher.AEAD, error) {
	ks, err := g.store.Keys(ctx, use)
	if err != nil {
		return nil, err
	}
	if len(ks) == 0 {
		return nil, fmt.Errorf("no %q key", use)
	}
	var as []cipher.AEAD
	for _, k := range ks[:min(len(ks), kept(use))] {
		if len(k.Secret) != keySize || k.Use != use {
			return nil, fmt.Errorf("key %s is not a %d byte %q key", k.ID, keySize, use)
		}
		block, err := aes.NewCipher(k.Secret)
		if err != nil {
			return nil, err
		}
		a, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		as = append(as, a)
	}
	return as, nil
}

// secretName is authenticated with a sealed secret, so that a row's ciphertext
// cannot be moved to another session or column.
func secretName(kind, sessionID string) []byte { return []byte(kind + "\x00" + sessionID) }

func (g *ring) sealSecret(kind, sessionID, plain string) []byte {
	if plain == "" {
		return nil
	}
	return g.keys.Load().secrets[0].Seal(nil, nil, []byte(plain), secretName(kind, sessionID))
}

func (g *ring) openSecret(kind, sessionID string, sealed []byte) (string, error) {
	for _, a := range g.keys.Load().secrets {
		if p, err := a.Open(nil, nil, sealed, secretName(kind, sessionID)); err == nil {
			return string(p), nil
		}
	}
	return "", errSealed
}

// token is what a cookie carries: the secret itself. It has no String method and
// is never put into an error.
type token [32]byte

const (
	sealedBytes = 12 + len(token{}) + 16   // nonce, token, tag
	sealedLen   = (sealedBytes*8 + 5) / 6  // in unpadded base64url
	secretChars = (8*len(token{}) + 5) / 6 // 32 random bytes in unpadded base64url
)

var encoding = base64.RawURLEncoding.Strict()

// codec seals tokens under one key, in the form that gorilla asks of a
// securecookie.Codec.
type codec struct{ aead cipher.AEAD }

var _ securecookie.Codec = codec{}

func (c codec) Encode(name string, value any) (string, error) {
	t, ok := value.(token)
	if !ok {
		return "", fmt.Errorf("cannot seal a %T in a cookie", value)
	}
	return encoding.EncodeToString(c.aead.Seal(nil, nil, t[:], []byte(name))), nil
}

// Decode accepts exactly what Encode gives. There is one spelling of a sealed
// token: other lengths, padding, line breaks (which encoding/base64 skips) and
// stray low bits are refused, the length before anything is decoded.
func (c codec) Decode(name, value string, dst any) error {
	t, ok := dst.(*token)
	if !ok {
		return fmt.Errorf("cannot open a cookie into a %T", dst)
	}
	if len(value) != sealedLen {
		return errSealed
	}
	var raw [sealedBytes]byte
	if n, err := encoding.Decode(raw[:], []byte(value)); err != nil || n != sealedBytes {
		return errSealed
	}
	p, err := c.aead.Open(nil, nil, raw[:], []byte(name))
	if err != nil || len(p) != len(t) {
		return errSealed
	}
	copy(t[:], p)
	return nil
}
