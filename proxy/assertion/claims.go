package assertion

import (
	"slices"

	"sallyport/authn"
	"sallyport/policy"
)

// Type is the typ header of an assertion.
const Type = "sallyport+jwt"

// Claims is the content of an assertion. Times are seconds since 1970. [Signer.Sign]
// overwrites the second group.
type Claims struct {
	Audience   string         `json:"aud"`
	Subject    string         `json:"sub"`
	Provider   string         `json:"idp"`
	Email      string         `json:"email"`
	Groups     []string       `json:"groups"`
	Session    string         `json:"sid"`
	AuthTime   int64          `json:"auth_time"`
	VerifiedAt int64          `json:"uv_time"`
	Credential string         `json:"credential"`
	AMR        []string       `json:"amr"`
	ACR        string         `json:"acr"`
	Risk       int            `json:"risk"`
	Reasons    []policy.Cause `json:"reasons,omitempty"`

	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	ID        string `json:"jti"`
}

// ClaimsOf makes the claims about s for a route, which d let it reach.
func ClaimsOf(s *authn.Session, route string, d *policy.Decision) Claims {
	class := s.Verification.Credential.Class
	c := Claims{
		Audience:   route,
		Subject:    s.Person.Subject.ID,
		Provider:   s.Person.Subject.Issuer,
		Email:      string(s.Person.Email),
		Groups:     slices.Clone(s.Person.Groups),
		Session:    s.ID,
		AuthTime:   s.AuthTime.Unix(),
		VerifiedAt: s.Verification.At.Unix(),
		Credential: class.String(),
		Risk:       d.Score,
		Reasons:    slices.Clone(d.Causes),
	}
	if c.Groups == nil {
		c.Groups = []string{}
	}
	c.AMR, c.ACR = methods(class)
	return c
}

// methods maps a credential class to amr and acr; the package comment says why so.
func methods(class authn.Class) (amr []string, acr string) {
	switch class {
	case authn.ClassAttested:
		return []string{"hwk", "user", "mfa"}, "phrh"
	case authn.ClassUnattested:
		return []string{"pop", "user", "mfa"}, "phr"
	case authn.ClassSynced:
		return []string{"swk", "user", "mfa"}, "phr"
	}
	return []string{}, "" // a class this package does not know proves nothing
}
