package app

import (
	"net/netip"
	"time"

	"sallyport/authn"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/edge"
)

// ceremonyLimits bounds how often something may be tried at the sign-in pages. Each
// attempt is counted once, for the narrowest that is known of who makes it, so that no
// one spends what belongs to others.
type ceremonyLimits struct {
	clients  *edge.AddressLimiter  // of requests without a session
	sessions *edge.Limiter[string] // of sessions without a passkey assertion
	accounts *edge.AccountLimiter  // of people with a verified session
	logouts  *edge.AddressLimiter  // messages of the OpenID provider
}

// logoutsFactor: at the end of a day, a provider signs a whole company out.
const logoutsFactor = 20

func newCeremonyLimits(perMinute int, translators ipv4in6.Translators) (l *ceremonyLimits, err error) {
	l = &ceremonyLimits{}
	each := edge.LimiterConfig{Every: time.Minute / time.Duration(perMinute), Burst: perMinute, Now: time.Now, Translators: translators}
	if l.accounts, err = edge.NewAccountLimiter(each); err != nil {
		return nil, err
	}
	if l.sessions, err = edge.NewLimiter[string](each); err != nil {
		return nil, err
	}
	if l.logouts, err = edge.NewAddressLimiter(edge.LimiterConfig{Every: max(each.Every/logoutsFactor, 1), Burst: each.Burst * logoutsFactor, Now: time.Now, Translators: translators}); err != nil {
		return nil, err
	}
	// An office shares one address.
	each.Every, each.Burst = max(each.Every/10, 1), each.Burst*10
	l.clients, err = edge.NewAddressLimiter(each)
	return l, err
}

// Allow implements proxy.Limiter.
func (l *ceremonyLimits) Allow(client netip.Addr, who *authn.Session) (bool, time.Duration) {
	switch who.Level() {
	case authn.Verified:
		return l.accounts.Allow(who.Person.Subject)
	case authn.SignedIn:
		return l.sessions.Allow(who.ID)
	default:
		return l.clients.Allow(client)
	}
}

// AllowLogout implements proxy.Limiter.
func (l *ceremonyLimits) AllowLogout(client netip.Addr) (bool, time.Duration) {
	return l.logouts.Allow(client)
}
