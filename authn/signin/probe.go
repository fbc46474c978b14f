package signin

import (
	"context"
	"errors"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Probe finds out whether the provider knows the client: it discovers the provider, and
// sends its token endpoint a made-up code. A provider authenticates the client before it
// looks at the code, and refuses the code with invalid_grant (RFC 6749 section 5.2). The
// error is an *[Error]: [CodeClientRejected] if client id, secret or key are wrong,
// [CodeUnavailable] if the provider does not answer, [CodeProviderError] if its answer
// says neither. method is how the client authenticated.
func (p *Provider) Probe(ctx context.Context) (method string, err error) {
	if err := p.Discover(ctx); err != nil {
		return "", err
	}
	m, err := p.ready()
	if err != nil {
		return "", err
	}
	code, verifier := newSecret(), oauth2.GenerateVerifier()
	_, err = m.oauth.Exchange(oidc.ClientContext(ctx, m.tokenClient), code, oauth2.VerifierOption(verifier))
	if err == nil {
		return "", refuse(CodeProviderError, "the token endpoint takes a made-up code")
	}
	err = p.tokenError(m, err, CodeCodeRejected, code, verifier)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Code == CodeCodeRejected {
		return m.clientAuth, nil
	}
	return "", err
}
