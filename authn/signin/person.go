package signin

import (
	"context"
	"strings"
	"unicode"

	"golang.org/x/oauth2"

	"sallyport/authn"
)

// answer is the result of one request to the token endpoint. claims and registered are
// those of the ID token; both are empty after a refresh that sent none.
type answer struct {
	claims     claimSet
	registered registered
	idToken    string
	token      *oauth2.Token
}

// result completes an answer into a person.
func (p *Provider) result(ctx context.Context, m *metadata, a answer) (Result, error) {
	sub := authn.Subject{Issuer: p.cfg.Issuer, ID: a.registered.subject}
	info, err := p.complete(ctx, m, sub, a)
	if err != nil {
		return Result{}, about(sub.ID, err)
	}
	person, notices, err := p.personFrom(ctx, sub, info, a)
	if err != nil {
		return Result{}, about(sub.ID, err)
	}
	if len(a.token.RefreshToken) > maxTokenBytes {
		return Result{}, refuse(CodeTokenMalformed, "refresh token is longer than %d bytes", maxTokenBytes)
	}
	at := a.registered.authenticated
	if at.IsZero() {
		at = a.registered.issued
	}
	return Result{Person: person, Notices: notices, AuthTime: at, ProviderSession: a.registered.session,
		IDToken: a.idToken, RefreshToken: a.token.RefreshToken}, nil
}

// complete asks userinfo when the ID token leaves something open. Providers
// differ in where they put claims; asking costs one call at sign-in.
func (p *Provider) complete(ctx context.Context, m *metadata, sub authn.Subject, a answer) (claimSet, error) {
	whole := a.claims.has(p.cfg.EmailClaim) && (a.claims.has("email_verified") || p.cfg.EmailsVerified) &&
		(a.claims.has(p.cfg.GroupsClaim) || overage(a.claims, p.cfg.GroupsClaim)) &&
		(p.cfg.CountriesClaim == "" || a.claims.has(p.cfg.CountriesClaim))
	if whole || m.userinfo == "" {
		return nil, nil
	}
	return p.fetchUserinfo(ctx, m, sub, a.token.AccessToken)
}

// personFrom makes the person of sub from the claims of the ID token and, for what
// it leaves out, of userinfo.
func (p *Provider) personFrom(ctx context.Context, sub authn.Subject, info claimSet, a answer) (authn.Person, []Notice, error) {
	id := a.claims
	email, notices, err := p.email(id, info)
	if err != nil {
		return authn.Person{}, nil, err
	}
	groups, more, err := p.groups(ctx, id, info, a.token.AccessToken)
	if err != nil {
		return authn.Person{}, nil, err
	}
	var countries []string
	if name := p.cfg.CountriesClaim; name != "" {
		if countries, err = firstOf(id, info, name).list(name); err != nil {
			return authn.Person{}, nil, refuse(CodeClaimMalformed, "%w", err)
		}
		if countries, err = countryCodes(countries); err != nil {
			return authn.Person{}, nil, err
		}
	}
	return authn.Person{Subject: sub, Email: email, Name: displayName(id, info), Groups: groups, Countries: countries}, append(notices, more...), nil
}

// firstOf prefers the ID token: it is signed and bound to this flow.
func firstOf(id, info claimSet, name string) claimSet {
	if id.has(name) {
		return id
	}
	return info
}

// email returns the person's address if the provider says it checked it, or the
// operator says that this issuer checks all of them.
//
// Address and confirmation must come from one source about one address: a
// person who can edit one of the two must not borrow the confirmation of the other.
func (p *Provider) email(id, info claimSet) (authn.Email, []Notice, error) {
	claim := p.cfg.EmailClaim
	from := id
	if !id.has(claim) || !id.has("email_verified") && (!p.cfg.EmailsVerified || info.has("email_verified")) {
		from = info
		if !info.has(claim) {
			from = id // say what is missing there
		}
	}
	email, err := addressIn(from, claim)
	if err != nil {
		return "", nil, err
	}
	if id.has(claim) {
		if other, err := addressIn(id, claim); err != nil || other != email {
			return "", nil, refuse(CodeEmailConflict, "the ID token and userinfo name different e-mail addresses")
		}
	}
	// email_verified speaks about the claim email (Core section 5.1).
	stated := claim == "email" && from.has("email_verified")
	switch {
	case stated && from.truth("email_verified"):
		return email, nil, nil
	case stated:
		return "", nil, refuse(CodeEmailUnverified, "the provider says that it has not verified %q (email_verified is false)", email)
	case !p.cfg.EmailsVerified:
		return "", nil, refuse(CodeEmailNotStated, "the provider does not say whether it verified %q (email_verified is absent): if every address of this issuer is checked by your company, say oidc.email_verified: issuer", email)
	}
	return email, []Notice{{NoticeEmailAssumed, "the provider does not say that it verified the address; oidc.email_verified: issuer says so"}}, nil
}

// addressIn reads an address from a string, or from a list of one (Azure AD B2C).
func addressIn(c claimSet, claim string) (authn.Email, error) {
	values, err := c.list(claim)
	switch {
	case err != nil:
		return "", refuse(CodeEmailMalformed, "%w", err)
	case claim == "email" && len(values) > 0 && c.value(claim)[0] == '[': // the standard's claim is a string
		return "", refuse(CodeEmailMalformed, "the claim %q is a list: oidc.email_claim names another, or one of the list (%s.0)", claim, claim)
	case len(values) == 0 || values[0] == "":
		return "", refuse(CodeEmailMissing, "neither the ID token nor userinfo has an e-mail address in the claim %q (oidc.email_claim; is the scope \"email\" requested?)", claim)
	case len(values) > 1:
		return "", refuse(CodeEmailMalformed, "the claim %q holds %d addresses: name one, as in oidc.email_claim: %s.0", claim, len(values), claim)
	}
	email, err := authn.ParseEmail(values[0])
	if err != nil {
		return "", refuse(CodeEmailMalformed, "%w", err)
	}
	return email, nil
}

// countryCodes returns ISO 3166-1 alpha-2 codes in upper case. One string may list
// several, separated by commas or spaces. Anything else is refused: dropping it would
// leave the person without declared countries, and rules about third countries would no
// longer apply to them.
func countryCodes(values []string) ([]string, error) {
	var codes []string
	for _, v := range values {
		for _, c := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
			c = strings.ToUpper(c)
			if len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
				return nil, refuse(CodeClaimMalformed, "%q is not a two-letter country code", clip(v))
			}
			codes = append(codes, c)
		}
	}
	return distinct(codes), nil
}

// distinct drops empty and repeated values and keeps the order.
func distinct(values []string) []string {
	seen := make(map[string]bool, len(values))
	var out []string
	for _, v := range values {
		if v != "" && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// displayName is for display only. Unprintable characters are dropped: direction
// overrides make "gpj.exe" read "exe.jpg", in a console too.
func displayName(id, info claimSet) string {
	const limit = 100
	for _, claim := range []string{"name", "preferred_username"} {
		text, err := firstOf(id, info, claim).text(claim)
		if err != nil {
			continue
		}
		printable := strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return -1
		}, text))
		if runes := []rune(printable); len(runes) > limit {
			printable = string(runes[:limit])
		}
		if printable != "" {
			return printable
		}
	}
	return ""
}
