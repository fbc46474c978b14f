package proxy

import (
	"bytes"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/edge"
)

// requestFacts is what a rule may see of the request itself. Purpose and route are known.
func requestFacts(f *policy.Request, r *http.Request, v *Verdict) {
	f.Method, f.Host, f.Path = r.Method, v.Target.Hostname, v.Target.Path
	f.PathFolded = policy.FoldPath(f.Path)
	f.UserAgent, f.WebSocket, f.RPCMethods = cut(header(r, "User-Agent"), 512), isWebSocket(r), v.rpc.Methods
}

// tlsFacts is the certificate that the client proved to hold, if it was asked for one,
// and what its hello looks like.
func tlsFacts(f *policy.TLS, r *http.Request, hello edge.Fingerprint) {
	if r.TLS == nil {
		return
	}
	c := edge.ClientCertOf(r)
	*f = policy.TLS{ClientCert: c.Fingerprint != "", ClientSubject: c.Subject, ClientSANs: c.SANs, JA4: hello.JA4}
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// isWebSocket recognises the handshake of RFC 6455 section 4.1 by the one value that the
// forwarder also looks at. The handshake of RFC 8441 has been given that form before.
func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(header(r, "Upgrade"), "websocket")
}

// header is http.Header.Get for a name that is in canonical form already.
func header(r *http.Request, name string) string {
	if lines := r.Header[name]; len(lines) > 0 {
		return lines[0]
	}
	return ""
}

// identityFacts is what stays the same for one session cookie.
func identityFacts(f *policy.Facts, s authn.Session, now time.Time) {
	if s.Level() == authn.None {
		return
	}
	f.User = UserFacts(s.Person, now)
	if s.Level() == authn.Verified {
		c := s.Verification.Credential
		f.Credential = policy.Credential{
			Class: c.Class.String(), AAGUID: c.AAGUID, BackupEligible: c.BackupEligible, BackedUp: c.BackedUp,
			Age: age(c.CreatedAt, now), Transports: c.Transports, AttestationFormat: c.AttestationFormat,
		}
	}
}

// UserFacts is what rules and grants see of a person.
func UserFacts(p authn.Person, now time.Time) policy.User {
	u := policy.User{
		Email: string(p.Email), Name: p.Name, Subject: p.Subject.ID, Issuer: p.Subject.Issuer,
		Groups: p.Groups, Countries: p.Countries, TimeZone: p.TimeZone, Region: p.Region, StartedDays: -1, Devices30d: -1, HomeKM: -1,
	}
	if !p.StartedAt.IsZero() {
		u.StartedDays = int64(age(p.StartedAt, now) / (24 * time.Hour)) // who is to start is new: 0
	}
	return u
}

// sessionFacts fills in the facts that change with the clock and with the address.
// movedFacts and browserFacts fill in the comparisons.
func sessionFacts(f *policy.Facts, s *authn.Session, addr netip.Addr, now time.Time) {
	level := s.Level()
	f.Session.ID, f.Session.Level = s.ID, level.String()
	f.Session.Age, f.Session.VerifiedAge, f.Session.VerifiedHere = 0, 0, false
	if level == authn.None {
		return
	}
	f.Session.Age = age(s.CreatedAt, now)
	if level == authn.Verified {
		// The age is not clamped. An assertion from the future (the clock was set back)
		// is not fresh, and only a negative age tells the policy so.
		f.Session.VerifiedAge = now.Sub(s.Verification.At)
		f.Session.VerifiedHere = sameNetwork(s.Verification.Addr, addr) || sameNetwork(s.Verification.Browser.AskedFrom, addr)
	}
}

// age is never negative: a clock that was set back must not make an old thing newer than
// now.
func age(t, now time.Time) time.Duration { return max(0, now.Sub(t)) }

// sameNetwork reports whether two addresses are one client's place. An IPv6 address that
// carries an IPv4 address and that IPv4 address are two places: the person has moved from
// one to the other.
func sameNetwork(a, b netip.Addr) bool {
	if !a.IsValid() || !b.IsValid() || a.Is4() != b.Is4() {
		return false
	}
	return ipv4in6.Key(a) == ipv4in6.Key(b)
}

// sameIdentity reports whether rules see the same person, with the same assertion,
// in both: a refresh from the provider, or a further passkey, changes that.
func sameIdentity(a, b *authn.Session) bool {
	p, q, x, y := &a.Person, &b.Person, &a.Verification, &b.Verification
	return a.ID == b.ID && a.Host == b.Host && p.Subject == q.Subject && p.Email == q.Email && p.Name == q.Name && p.TimeZone == q.TimeZone && p.Region == q.Region && p.Home == q.Home &&
		slices.Equal(p.Groups, q.Groups) && slices.Equal(p.Countries, q.Countries) &&
		p.StartedAt.Equal(q.StartedAt) && x.At.Equal(y.At) && x.Addr == y.Addr && x.Browser == y.Browser && bytes.Equal(x.Credential.ID, y.Credential.ID)
}
