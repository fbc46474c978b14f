package edge

import (
	"errors"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"sallyport/authn"
	"sallyport/policy/ipv4in6"
)

// LimiterConfig is how often something may happen for one key.
type LimiterConfig struct {
	Every time.Duration // one event each
	Burst int           // events allowed at once after a pause
	// Keys is how many are remembered (65,536). When there are more, rarely used keys are
	// forgotten first, which are those of a password sprayer. A forgotten key starts with
	// a full bucket.
	Keys int
	Now  func() time.Time
	// Translators, for limits by address: clients behind these prefixes count by their
	// IPv4 address.
	Translators ipv4in6.Translators
}

// Limiter limits events by key. Use a typed, canonical key: it has one spelling, while a
// string from a request has many.
type Limiter[K comparable] struct {
	config LimiterConfig
	limit  rate.Limit
	cache  *otter.Cache[K, *rate.Limiter]
}

// NewLimiter checks c.
func NewLimiter[K comparable](c LimiterConfig) (*Limiter[K], error) {
	orDefault(&c.Keys, 1<<16)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every <= 0 || c.Burst <= 0 || c.Keys < 0 {
		return nil, errors.New("edge: a limiter needs a positive interval, burst and number of keys")
	}
	cache, err := otter.New(&otter.Options[K, *rate.Limiter]{
		MaximumSize: c.Keys,
		// After this long a bucket is full again, and equal to a new one.
		ExpiryCalculator: otter.ExpiryAccessing[K, *rate.Limiter](c.Every*time.Duration(c.Burst) + time.Second),
	})
	if err != nil {
		return nil, err
	}
	return &Limiter[K]{config: c, limit: rate.Every(c.Every), cache: cache}, nil
}

// Allow counts one event of key. If it is over the limit, it returns the time until the
// next is allowed.
func (l *Limiter[K]) Allow(key K) (ok bool, retryAfter time.Duration) {
	bucket, found := l.cache.GetIfPresent(key)
	if !found {
		bucket, _ = l.cache.SetIfAbsent(key, rate.NewLimiter(l.limit, l.config.Burst))
	}
	now := l.config.Now()
	if bucket.AllowN(now, 1) {
		return true, 0
	}
	missing := 1 - bucket.TokensAt(now)
	return false, max(time.Second, time.Duration(missing*float64(l.config.Every)))
}

// Size is approximately how many keys are remembered.
func (l *Limiter[K]) Size() int { return l.cache.EstimatedSize() }

// AddressLimiter limits by client address. A client with one IPv6 address has 2^64 of
// them, so a /64 counts as one client. A client with a /48 has 65,536 of those, so all of
// a /48 together get wideFactor times the limit of one. Of an address that carries an
// IPv4 address, the IPv4 address counts, so that 6to4 and Teredo give no extra budget and
// NAT64 does not put all clients into one.
type AddressLimiter struct {
	client      *Limiter[netip.Prefix]
	wide        *Limiter[netip.Prefix]
	translators ipv4in6.Translators
}

const wideFactor = 16

// NewAddressLimiter checks c, which is the limit of one client.
func NewAddressLimiter(c LimiterConfig) (*AddressLimiter, error) {
	client, err := NewLimiter[netip.Prefix](c)
	if err != nil {
		return nil, err
	}
	c.Every, c.Burst = max(c.Every/wideFactor, 1), c.Burst*wideFactor
	wide, err := NewLimiter[netip.Prefix](c)
	if err != nil {
		return nil, err
	}
	return &AddressLimiter{client, wide, c.Translators}, nil
}

// Allow counts one event of addr, in any of its spellings.
func (l *AddressLimiter) Allow(addr netip.Addr) (ok bool, retryAfter time.Duration) {
	key := l.translators.Key(addr)
	if ok, after := l.client.Allow(key); !ok || key.Addr().Is4() {
		return ok, after
	}
	wide, err := key.Addr().Prefix(48)
	if err != nil { // the zero Addr: all unknown addresses are one client
		return true, 0
	}
	return l.wide.Allow(wide)
}

// Size is approximately how many clients and networks are remembered.
func (l *AddressLimiter) Size() int { return l.client.Size() + l.wide.Size() }

// AccountLimiter limits by person. It is for endpoints of signed-in people: before
// sign-in, it would let any client lock out any person.
type AccountLimiter = Limiter[authn.Subject]

// NewAccountLimiter checks c.
func NewAccountLimiter(c LimiterConfig) (*AccountLimiter, error) { return NewLimiter[authn.Subject](c) }
