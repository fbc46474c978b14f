package signin

import (
	"context"
	"strings"
	"unicode"

	"golang.org/x/oauth2"

	"sallyport/authn"
)

// answer is what one visit to the token endpoint bought. claims and registered
// are those of the ID token; both are empty after a refresh that sent none.
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
		return Result{}, err
	}
	person, err := p.person(sub, a.claims, info)
	if err != nil {
		return Result{}, err
	}
	if len(a.token.RefreshToken) > maxTokenBytes {
		return Result{}, refuse(CodeTokenMalformed, "refresh token is longer than %d bytes", maxTokenBytes)
	}
	at := a.registered.authenticated
	if at.IsZero() {
		at = a.registered.issued
	}
	return Result{Person: person, AuthTime: at, ProviderSession: a.registered.session,
		IDToken: a.idToken, RefreshToken: a.token.RefreshToken}, nil
}

// complete asks userinfo when the ID token leaves something open. Providers
// differ in where they put claims; asking costs one call at sign-in.
func (p *Provider) complete(ctx context.Context, m *metadata, sub authn.Subject, a answer) (claimSet, error) {
	whole := a.claims.has("email") && a.claims.has("email_verified") && a.claims.has(p.cfg.GroupsClaim) &&
		(p.cfg.CountriesClaim == "" || a.claims.has(p.cfg.CountriesClaim))
	if whole || m.userinfo == "" {
		return nil, nil
	}
	return p.fetchUserinfo(ctx, m, sub, a.token.AccessToken)
}

// person makes the person of sub from the claims of the ID token and, for what
// it leaves out, of userinfo.
func (p *Provider) person(sub authn.Subject, id, info claimSet) (authn.Person, error) {
	email, err := verifiedEmail(id, info)
	if err != nil {
		return authn.Person{}, err
	}
	groups, err := firstOf(id, info, p.cfg.GroupsClaim).list(p.cfg.GroupsClaim)
	if err != nil {
		return authn.Person{}, refuse(CodeClaimMalformed, "%w", err)
	}
	var countries []string
	if name := p.cfg.CountriesClaim; name != "" {
		if countries, err = firstOf(id, info, name).list(name); err != nil {
			return authn.Person{}, refuse(CodeClaimMalformed, "%w", err)
		}
		if countries, err = countryCodes(countries); err != nil {
			return authn.Person{}, err
		}
	}
	return authn.Person{Subject: sub, Email: email, Name: displayName(id, info), Groups: distinct(groups), Countries: countries}, nil
}

// firstOf prefers the ID token: it is signed and bound to this flow.
func firstOf(id, info claimSet, name string) claimSet {
	if id.has(name) {
		return id
	}
	return info
}

// verifiedEmail returns the person's address if the provider says it checked it.
//
// Address and confirmation must come from one source about one address: a
// person who can edit one of the two must not borrow the confirmation of the other.
func verifiedEmail(id, info claimSet) (authn.Email, error) {
	from := id
	if !id.has("email") || !id.has("email_verified") {
		from = info
		if info == nil {
			from = id // no userinfo: say what is missing there
		}
	}
	text, err := from.text("email")
	if err != nil {
		return "", refuse(CodeEmailMalformed, "%w", err)
	}
	if text == "" {
		return "", refuse(CodeEmailMissing, "neither the ID token nor userinfo has an e-mail address (is the scope \"email\" requested?)")
	}
	email, err := authn.ParseEmail(text)
	if err != nil {
		return "", refuse(CodeEmailMalformed, "%w", err)
	}
	if from.has("email") && id.has("email") {
		other, err := id.text("email")
		if canonical, perr := authn.ParseEmail(other); err != nil || perr != nil || canonical != email {
			return "", refuse(CodeEmailConflict, "the ID token and userinfo name different e-mail addresses")
		}
	}
	if !from.truth("email_verified") {
		return "", refuse(CodeEmailUnverified, "the provider has not verified %q", email)
	}
	return email, nil
}

// countryCodes returns ISO 3166-1 alpha-2 codes in upper case. One string may
// list several, separated by commas or spaces. Anything else is refused: dropping it
// would leave the person without declared countries, and rules about third countries would no
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

// displayName is for eyes only. What cannot be printed is dropped: direction
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
