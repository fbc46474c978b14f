package assertion

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authn"
)

// Life is how long an assertion is valid, from nbf to exp.
const Life = 60 * time.Second

const (
	skew    = 5 * time.Second // between iat and nbf
	refresh = Life / 2        // a cached assertion is replaced at this age

	// reloadEvery is how long a process may not know what another did to the keys.
	reloadEvery = time.Minute
)

var (
	// ErrRotating, from Rotate: the newest key has not begun to sign.
	ErrRotating = errors.New("a rotation is under way")
	// ErrUnverified, from Sign and For: there is no person to vouch for.
	ErrUnverified = errors.New("no assertion without a verified session")
)

// Config is what a Signer is made of.
type Config struct {
	Keys   authn.KeyStore
	Issuer string // external_url
	// JWKSMaxAge is how long verifiers may cache the key set; default 5 minutes.
	JWKSMaxAge time.Duration
	// RotateEvery is the age at which Run replaces a key; zero is never.
	RotateEvery time.Duration
	Now         func() time.Time
	Logger      *slog.Logger
}

// Signer makes assertions. It is safe for concurrent use.
type Signer struct {
	cfg   Config
	ring  atomic.Pointer[ring]
	cache *cache
	load  sync.Mutex // one reload at a time: an older one must not undo a newer
}

// New reads the keys, and makes the first one if there is none.
func New(ctx context.Context, c Config) (*Signer, error) {
	if c.JWKSMaxAge == 0 {
		c.JWKSMaxAge = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Signer{cfg: c, cache: newCache()}
	switch {
	case c.Keys == nil || c.Issuer == "":
		return nil, errors.New("assertion: Config needs Keys and Issuer")
	case c.JWKSMaxAge < time.Second:
		return nil, errors.New("assertion: JWKSMaxAge is less than a second")
	case c.RotateEvery != 0 && c.RotateEvery < 4*s.lead():
		// Keys would be dropped while verifiers still need them.
		return nil, fmt.Errorf("assertion: RotateEvery must be at least %s", 4*s.lead())
	}
	if err := s.first(ctx); err != nil {
		return nil, fmt.Errorf("assertion keys: %w", err)
	}
	return s, nil
}

// lead is how long a key is published before it signs: until a set that was cached just
// before another process, which just missed the new key, served it, is out of every
// cache.
func (s *Signer) lead() time.Duration { return s.cfg.JWKSMaxAge + 2*reloadEvery }

func (s *Signer) first(ctx context.Context) error {
	stored, err := s.cfg.Keys.Keys(ctx, keyUse)
	if err == nil && len(stored) == 0 {
		var k authn.Key
		if k, err = generate(s.cfg.Now()); err == nil {
			_, err = s.cfg.Keys.AddFirstKey(ctx, k)
		}
	}
	if err != nil {
		return err
	}
	return s.Reload(ctx)
}

// Reload reads the keys that other processes may have changed. After an error the
// former keys go on.
func (s *Signer) Reload(ctx context.Context) error {
	s.load.Lock()
	defer s.load.Unlock()
	stored, err := s.cfg.Keys.Keys(ctx, keyUse)
	if err == nil {
		var all []*key
		if all, err = s.parseAll(stored); err == nil {
			return s.arrange(all)
		}
	}
	if r := s.ring.Load(); r != nil {
		// Time goes on without the store: a key that is published long enough signs.
		err = errors.Join(err, s.arrange(r.all))
	}
	return err
}

func (s *Signer) parseAll(stored []authn.Key) ([]*key, error) {
	known := map[string]*key{}
	if r := s.ring.Load(); r != nil {
		for _, k := range r.all {
			known[k.public.KeyID] = k
		}
	}
	var all []*key
	for _, k := range stored {
		if old, ok := known[k.ID]; ok {
			all = append(all, old)
			continue
		}
		parsed, err := parse(k)
		if err != nil {
			return nil, err
		}
		all = append(all, parsed)
	}
	return all, nil
}

func (s *Signer) arrange(all []*key) error {
	r, err := arrange(all, s.lead(), s.cfg.Now())
	if err == nil {
		s.ring.Store(r)
	}
	return err
}

// Rotate adds a key, which is published at once and signs later. It fails with
// ErrRotating while the newest key has not begun to sign: each further key would push one
// out that verifiers still need.
func (s *Signer) Rotate(ctx context.Context) error {
	if err := s.Reload(ctx); err != nil {
		return err
	}
	if r := s.ring.Load(); r.signing != r.all[0] {
		return ErrRotating
	}
	return s.add(ctx, keysKept)
}

// Revoke replaces all keys, for one of them is not secret any more. The new one signs at
// once: until a verifier has fetched the new set, it refuses.
func (s *Signer) Revoke(ctx context.Context) error { return s.add(ctx, 1) }

func (s *Signer) add(ctx context.Context, keep int) error {
	k, err := generate(s.cfg.Now())
	if err != nil {
		return err
	}
	if err := s.cfg.Keys.AddKey(ctx, k, keep); err != nil {
		return err
	}
	return s.Reload(ctx)
}

// Sign returns a new assertion. Issuer, times and ID of c are set here. [Signer.For] is
// the same from memory.
func (s *Signer) Sign(c Claims) (string, error) {
	return s.sign(s.ring.Load().signing, c, s.cfg.Now())
}

func (s *Signer) sign(k *key, c Claims, now time.Time) (string, error) {
	if c.Subject == "" || c.Session == "" || c.Audience == "" || c.VerifiedAt <= 0 {
		return "", ErrUnverified
	}
	c.Issuer = s.cfg.Issuer
	c.IssuedAt = now.Unix()
	c.NotBefore = c.IssuedAt - int64(skew/time.Second)
	c.Expires = c.NotBefore + int64(Life/time.Second)
	c.ID = rand.Text()
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign assertion: %w", err)
	}
	return signed.CompactSerialize()
}
