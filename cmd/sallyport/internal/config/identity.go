package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"sallyport/authn/signin"
	"sallyport/policy/strictyaml"
	"sallyport/proxy/hostname"
)

func (b *builder) oidc() {
	o := b.f.OIDC
	if b.required("oidc.issuer", o.Issuer, "the URL of the OpenID provider, exactly as its discovery document says") {
		u, err := url.Parse(o.Issuer)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.ContainsAny(o.Issuer, "?#"):
			b.at("oidc.issuer", fmt.Sprintf("%q is not an issuer URL", o.Issuer), "https://..., without user name, query or fragment")
		case strings.Contains(u.Path, "/.well-known/"): // consoles of providers show it for copying; discovery would append it a second time
			b.at("oidc.issuer", "this is the address of a discovery document", `what the document says after "issuer", usually the part before /.well-known`)
		case u.Scheme == "http" && !localName(u.Hostname()):
			b.at("oidc.issuer", "the provider's answers would travel unprotected", "an https issuer (plain http works for a loopback issuer only)")
		}
	}
	b.required("oidc.client_id", o.ClientID, "the client id registered at the provider")
	b.clientAuth()
	b.claims()
	if !slices.Contains(o.Scopes, "openid") {
		b.at("oidc.scopes", "the scope openid is missing", "openid, and usually email and profile")
	}
	if o.RefreshInterval < minRefresh {
		b.at("oidc.refresh_interval", "that would ask the provider too often", minRefresh.String()+" or more")
	}
	for _, name := range slices.Sorted(maps.Keys(o.AuthorizationParams)) {
		key := "oidc.authorization_params." + name
		switch value := o.AuthorizationParams[name]; {
		case name == "scope":
			b.at(key, "scopes have a key of their own", "oidc.scopes")
		case signin.ReservedParam(name):
			b.at(key, name+" is set by Sallyport: a sign-in rests on it", "what your provider wants beyond the standard, such as access_type, prompt, domain_hint or hd")
		case name == "prompt" && slices.Contains(strings.Fields(value), "none"):
			b.at(key, "with prompt=none people cannot sign in unless they are signed in at the provider already", "consent, login or select_account")
		case value == "":
			b.at(key, "the parameter is empty", "its value, or leave it out")
		}
	}
	b.c.OIDC.Issuer, b.c.OIDC.ClientID, b.c.OIDC.Scopes = o.Issuer, o.ClientID, o.Scopes
	b.c.OIDC.AuthorizationParams, b.c.OIDC.RefreshInterval = o.AuthorizationParams, o.RefreshInterval
}

// claims reads where the provider's answers have the facts about a person.
func (b *builder) claims() {
	o, c := b.f.OIDC, &b.c.OIDC
	for key, path := range map[string]string{"oidc.email_claim": o.EmailClaim, "oidc.groups_claim": o.GroupsClaim, "oidc.countries_claim": o.CountriesClaim} {
		if strings.TrimSpace(path) != path || strings.HasPrefix(path, "$") || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || strings.Contains(path, "..") || path == "" && key != "oidc.countries_claim" {
			b.at(key, fmt.Sprintf("%q is no claim", path), "the claim's name, or a path to it such as realm_access.roles")
		}
	}
	switch o.EmailVerified {
	case "claim":
		if o.EmailClaim != "email" {
			b.at("oidc.email_claim", fmt.Sprintf("the claim email_verified says nothing about %s, so that no one could sign in", o.EmailClaim),
				"oidc.email_verified: issuer beside it, if your company checks every address of this issuer; or email")
		}
	case "issuer":
		c.EmailsVerified = true
	default:
		b.at("oidc.email_verified", fmt.Sprintf("%q does not say who vouches for addresses", o.EmailVerified), "claim (the default), or issuer if your company checks every address of this issuer")
	}
	formats := map[string]signin.GroupsFormat{"list": signin.GroupsList, "keys": signin.GroupsKeys, "commas": signin.GroupsCommas, "spaces": signin.GroupsSpaces}
	format, ok := formats[o.GroupsFormat]
	if !ok {
		b.at("oidc.groups_format", fmt.Sprintf("%q is no way to write groups down", o.GroupsFormat), "list (the default), keys, commas or spaces")
	}
	if u, err := url.Parse(o.GroupsEndpoint); o.GroupsEndpoint != "" &&
		(err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !localName(u.Hostname()))) {
		b.at("oidc.groups_endpoint", fmt.Sprintf("an access token would go to %q", o.GroupsEndpoint), "an https URL, such as https://graph.microsoft.com/v1.0/me/getMemberObjects")
	}
	c.EmailClaim, c.GroupsClaim, c.CountriesClaim = o.EmailClaim, o.GroupsClaim, o.CountriesClaim
	c.GroupsFormat, c.GroupsEndpoint = format, o.GroupsEndpoint
}

// clientAuth is how Sallyport proves itself to the provider.
func (b *builder) clientAuth() {
	o, c := b.f.OIDC, &b.c.OIDC
	switch o.ClientAuth {
	case "auto", "basic", "post":
		if o.ClientKeyFile != "" {
			b.at("oidc.client_key_file", "a key is of use with client_auth: private_key_jwt only", "client_auth: private_key_jwt, or a client_secret_file")
		}
		c.ClientAuth = map[string]signin.ClientAuth{"auto": signin.AuthAuto, "basic": signin.AuthBasic, "post": signin.AuthPost}[o.ClientAuth]
		b.clientSecret(o.ClientSecretFile)
	case "private_key_jwt":
		c.ClientAuth = signin.AuthPrivateKey
		if o.ClientSecretFile != "" {
			b.at("oidc.client_secret_file", "with client_auth: private_key_jwt there is no secret", "client_key_file alone")
		}
		b.clientKey(o.ClientKeyFile, o.ClientKeyID)
	default:
		b.at("oidc.client_auth", fmt.Sprintf("%q is no way of client authentication", o.ClientAuth), "auto (the default), basic, post or private_key_jwt")
	}
}

func (b *builder) clientKey(file, id string) {
	const key, what = "oidc.client_key_file", "a PEM file with a private key, and its certificate if the provider knows it by that"
	if !b.required(key, file, what) {
		return
	}
	content, ok := b.read(key, file, what, 64<<10)
	if !ok {
		return
	}
	k, err := signin.ReadClientKey(content, id)
	if err != nil {
		b.at(key, fmt.Sprintf("%s: %v", b.path(file), err), what)
		return
	}
	b.c.OIDC.ClientKey = k
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
	public, _ := hostname.PublicSuffix(id)
	if id != host && (!strings.HasSuffix(host, "."+id) || public) {
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
			"auto (the default), or post where browsers do not let the sign-in page fetch from the tools' hosts", strictyaml.Nearest(s.Handoff, []string{"auto", "post"}))
	}
	if s.MaxPerPerson < 1 || s.MaxPerPerson > 10_000 {
		b.at("session.max_per_person", fmt.Sprintf("%d is out of range", s.MaxPerPerson), "1 to 10000; a person needs one for each browser that they use")
	}
	b.c.Session = Session{MaxPerPerson: int(s.MaxPerPerson), MaxAge: s.MaxAge, IdleTimeout: s.IdleTimeout, HandoffByPost: s.Handoff == "post"}
}
