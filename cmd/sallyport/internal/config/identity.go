package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

func (b *builder) oidc() {
	o := b.f.OIDC
	if b.required("oidc.issuer", o.Issuer, "the URL of the OpenID provider, exactly as its discovery document says") {
		u, err := url.Parse(o.Issuer)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.ContainsAny(o.Issuer, "?#"):
			b.at("oidc.issuer", fmt.Sprintf("%q is not an issuer URL", o.Issuer), "https://..., without user name, query or fragment")
		case u.Scheme == "http" && !localName(u.Hostname()):
			b.at("oidc.issuer", "the provider's answers would travel unprotected", "an https issuer (plain http works for a loopback issuer only)")
		}
	}
	b.required("oidc.client_id", o.ClientID, "the client id registered at the provider")
	b.clientSecret(o.ClientSecretFile)
	if !slices.Contains(o.Scopes, "openid") {
		b.at("oidc.scopes", "the scope openid is missing", "openid, and usually email and profile")
	}
	if o.RefreshInterval < minRefresh {
		b.at("oidc.refresh_interval", "that would ask the provider too often", minRefresh.String()+" or more")
	}
	b.c.OIDC.Issuer, b.c.OIDC.ClientID, b.c.OIDC.Scopes = o.Issuer, o.ClientID, o.Scopes
	b.c.OIDC.GroupsClaim, b.c.OIDC.CountriesClaim, b.c.OIDC.RefreshInterval = o.GroupsClaim, o.CountriesClaim, o.RefreshInterval
}

func (b *builder) clientSecret(file string) {
	const key, what = "oidc.client_secret_file", "a file that holds the client secret and nothing else"
	if !b.required(key, file, what) {
		return
	}
	content, ok := b.read(key, file, what, 64<<10)
	if !ok {
		return
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		b.at(key, b.path(file)+" is empty, or holds several lines", what)
	}
	b.c.OIDC.ClientSecret, b.c.OIDC.ClientSecretFile = secret, b.path(file)
}

func (b *builder) webauthn() {
	if b.c.ExternalURL == nil {
		return
	}
	host := b.c.ExternalURL.Hostname()
	id := b.f.WebAuthn.RPID
	if id == "" {
		id = host
	}
	// WebAuthn section 5.1.2: the RP ID is the host or a registrable suffix of it.
	suffix, _ := publicsuffix.PublicSuffix(id)
	if id != host && (!strings.HasSuffix(host, "."+id) || suffix == id) {
		b.at("webauthn.rp_id", fmt.Sprintf("browsers refuse passkeys for %q on %s", id, host), host+" or a parent domain of it that your company owns")
	}
	b.c.WebAuthn = WebAuthn{RPID: id, RPName: b.f.WebAuthn.RPName}
}

func (b *builder) session() {
	s := b.f.Session
	if _, given := b.places["session.idle_timeout"]; !given {
		s.IdleTimeout = min(s.IdleTimeout, s.MaxAge)
	}
	if s.MaxAge < minSession || s.MaxAge > maxSession {
		b.at("session.max_age", fmt.Sprintf("%s is not a sensible lifetime", s.MaxAge), fmt.Sprintf("%s to %s", minSession, maxSession))
	}
	if s.IdleTimeout < minSession || s.IdleTimeout > s.MaxAge {
		b.at("session.idle_timeout", fmt.Sprintf("%s is shorter than %s or longer than max_age", s.IdleTimeout, minSession), fmt.Sprintf("%s to %s", minSession, s.MaxAge))
	}
	if s.Handoff != "auto" && s.Handoff != "post" {
		b.suggest("session.handoff", fmt.Sprintf("%q is not a way to hand a session over", s.Handoff),
			"auto (the default), or post where browsers do not let the sign-in page fetch from the tools' hosts", closest(s.Handoff, []string{"auto", "post"}))
	}
	if s.MaxPerPerson < 1 || s.MaxPerPerson > 10_000 {
		b.at("session.max_per_person", fmt.Sprintf("%d is out of range", s.MaxPerPerson), "1 to 10000; everybody needs one for each browser they use")
	}
	b.c.Session = Session{MaxPerPerson: int(s.MaxPerPerson), MaxAge: s.MaxAge, IdleTimeout: s.IdleTimeout, HandoffByPost: s.Handoff == "post"}
}
