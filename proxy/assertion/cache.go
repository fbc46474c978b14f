package assertion

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/authn"
	"sallyport/policy"
)

// cacheEntries bounds the memory: an assertion is about 1 kB.
const cacheEntries = 16_000

// causes are the reasons that a cached assertion can carry, in the order of the bits that
// stand for them.
var causes = []policy.Cause{
	policy.CauseSignIn, policy.CauseUnverified, policy.CauseGrant, policy.CauseNetwork, policy.CausePerson,
	policy.CauseSession, policy.CauseCredential, policy.CauseRequest, policy.CauseTime,
}

// cacheKey is what an assertion depends on. The parts are not joined, so that no two
// people meet under one key. The time of the passkey assertion stands for
// the cookie's token: every new one is a new key.
type cacheKey struct {
	session  string
	host     string
	route    string
	verified int64
	score    int
	causes   uint16
}

// entry is a signed assertion, with the claims that its key does not have.
type entry struct {
	token      string
	made       time.Time
	key        *key
	person     authn.Person
	authTime   time.Time
	class      authn.Class
	refreshing atomic.Bool // a goroutine is replacing it
}

type cache = otter.Cache[cacheKey, *entry]

func newCache() *cache {
	return otter.Must(&otter.Options[cacheKey, *entry]{MaximumSize: cacheEntries})
}

// For returns the assertion of a session for a route that d let it reach: from
// memory if there is one that is good for half its life or more and says exactly this.
// It fails with ErrUnverified unless s is verified.
func (s *Signer) For(sess *authn.Session, route string, d *policy.Decision) (string, error) {
	if sess.Level() != authn.Verified || d.Action != policy.Allow {
		return "", ErrUnverified
	}
	now, signing := s.cfg.Now(), s.ring.Load().signing
	bits, ok := causeBits(d.Causes)
	if !ok {
		return s.sign(signing, ClaimsOf(sess, route, d), now)
	}
	k := cacheKey{
		session: sess.ID, host: sess.Host, route: route,
		verified: sess.Verification.At.UnixMicro(), score: d.Score, causes: bits,
	}
	e, ok := s.cache.GetIfPresent(k)
	if ok && e.key == signing && e.says(sess) {
		switch age := now.Sub(e.made); {
		case age >= 0 && age < refresh:
			return e.token, nil
		case age >= 0 && age < refresh+refresh/4 && !e.refreshing.CompareAndSwap(false, true):
			// One request pays for the signature; what the others have is still good.
			return e.token, nil
		}
	}
	token, err := s.sign(signing, ClaimsOf(sess, route, d), now)
	if err != nil {
		return "", err
	}
	s.cache.Set(k, &entry{token: token, made: now, key: signing, person: sess.Person, authTime: sess.AuthTime, class: sess.Verification.Credential.Class})
	return token, nil
}

// says reports whether the assertion says of sess what a new one would.
func (e *entry) says(sess *authn.Session) bool {
	p := &sess.Person
	return e.person.Subject == p.Subject && e.person.Email == p.Email && e.class == sess.Verification.Credential.Class &&
		e.authTime.Equal(sess.AuthTime) && slices.Equal(e.person.Groups, p.Groups)
}

// causeBits returns the set of causes; false if there is one this package does not know.
func causeBits(cs []policy.Cause) (bits uint16, ok bool) {
	for _, c := range cs {
		i := slices.Index(causes, c)
		if i < 0 {
			return 0, false
		}
		bits |= 1 << i
	}
	return bits, true
}
