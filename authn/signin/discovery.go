package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// metadata is the result of one discovery: immutable, swapped as a whole.
type metadata struct {
	raw        []byte // the document, to see whether a later one differs
	oauth      oauth2.Config
	userinfo   string // endpoint, or ""
	endSession string // endpoint, or ""
	algorithms []string
	issParam   bool // RFC 9207: answers always carry iss
	offline    bool // the scope offline_access exists here

	clientAuth  string       // how we prove ourselves at the token endpoint, as discovery names it
	tokenClient *http.Client // calls the token endpoint
	readable    *readableKeys

	keys       oidc.KeySet // for tokens that the provider handed to us over TLS
	logoutKeys oidc.KeySet // for tokens that strangers may send: fetches are rationed
}

// asymmetric are the signature algorithms that we accept, if the provider advertises
// them. "none" and the HS family are not here and must never be: with HS256, our own
// client secret could sign a token for any person.
var asymmetric = []string{
	oidc.RS256, oidc.ES256, oidc.PS256, oidc.EdDSA,
	oidc.RS384, oidc.RS512, oidc.ES384, oidc.ES512, oidc.PS384, oidc.PS512,
}

// pace is how often Run asks.
type pace struct {
	first, max time.Duration // back-off while discovery fails
	refresh    time.Duration // between discoveries that succeed
	gap        time.Duration // least time between two attempts, for all callers together
}

var defaultPace = pace{first: time.Second, max: time.Minute, refresh: time.Hour, gap: 5 * time.Second}

// Run keeps the provider's metadata known until ctx ends: it retries with
// exponential back-off and jitter while the provider is down, looks again every
// hour, and sooner when a key cannot be found or an endpoint is gone.
func (p *Provider) Run(ctx context.Context) {
	backoff := p.pace.first
	for failures := 0; ; {
		err := p.Discover(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := jitter(p.pace.refresh)
		if err == nil {
			failures, backoff = 0, p.pace.first
		} else {
			failures++
			wait, backoff = jitter(backoff), min(2*backoff, p.pace.max)
			p.log.Warn("OpenID discovery failed, will retry", "error", err, "failures", failures,
				"in", wait.Round(time.Millisecond).String(), "usable", p.known.Load() != nil)
		}
		// First a pause that always applies, then one that a waiting person can shorten:
		// crowds at the sign-in page must not become a flood at the provider.
		pause := min(wait, p.pace.gap)
		if !sleep(ctx, pause, nil) || !sleep(ctx, wait-pause, p.kick) {
			return
		}
	}
}

// Discover fetches the provider's metadata once and puts it to use. On error the
// metadata known before stays. Run calls it; so do tests and `check --online`.
func (p *Provider) Discover(ctx context.Context) error {
	m, err := p.discover(ctx)
	if err != nil {
		err = unavailable(err)
		p.lastErr.Store(&err)
		return err
	}
	old := p.known.Load()
	if old != nil && bytes.Equal(old.raw, m.raw) {
		return nil // keep the keys that are cached
	}
	p.known.Store(m)
	if !m.offline && slices.Contains(p.cfg.Scopes, "offline_access") {
		p.log.Warn("the OpenID provider does not list the scope offline_access", "hint", refreshAdvice(m))
	}
	p.log.Info("OpenID provider discovered", "changed", old != nil, "client_auth", m.clientAuth, "algorithms", m.algorithms,
		"userinfo", m.userinfo != "", "end_session", m.endSession != "", "iss_parameter", m.issParam)
	return nil
}

// document is the part of the discovery document that go-oidc does not expose
// (OpenID Connect Discovery 1.0 section 3, RFC 9207 section 3).
type document struct {
	JWKS        string   `json:"jwks_uri"`
	EndSession  string   `json:"end_session_endpoint"`
	Algorithms  []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	Scopes      []string `json:"scopes_supported"`
	IssParam    bool     `json:"authorization_response_iss_parameter_supported"`
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.cfg.Issuer) // refuses a document for another issuer
	if other, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return nil, fmt.Errorf("discovery: the provider at %q calls itself %q: oidc.issuer has to be written exactly so", other.Provided, clip(other.Discovered))
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: %s", clip(network(err).Error()))
	}
	var raw json.RawMessage
	var doc document
	if err := errors.Join(found.Claims(&raw), found.Claims(&doc)); err != nil {
		return nil, fmt.Errorf("discovery document: %w", err)
	}
	readable := &readableKeys{base: p.client.Transport, log: p.log}
	keyClient := *p.client
	keyClient.Transport = readable
	m := &metadata{
		readable: readable, offline: slices.Contains(doc.Scopes, "offline_access"),
		raw: raw, userinfo: found.UserInfoEndpoint(), endSession: doc.EndSession, issParam: doc.IssParam,
		oauth: oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: found.Endpoint(),
			RedirectURL: p.cfg.RedirectURL, Scopes: p.cfg.Scopes},
		keys:       oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &keyClient), doc.JWKS),
		logoutKeys: oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), rationedClient(&keyClient)), doc.JWKS),
	}
	if err := p.checkEndpoints(m, doc); err != nil {
		return nil, err
	}
	if m.oauth.Endpoint.AuthStyle, m.clientAuth, err = p.authStyle(doc.AuthMethods); err != nil {
		return nil, err
	}
	if p.cfg.ClientKey != nil {
		m.oauth.ClientSecret = "" // the assertion stands in its place
	}
	m.tokenClient = p.tokenClient(m.oauth.Endpoint.TokenURL, doc.AuthAlgs)
	m.algorithms = []string{oidc.RS256} // the default, Core section 2
	if len(doc.Algorithms) > 0 {
		m.algorithms = slices.DeleteFunc(slices.Clone(asymmetric), func(a string) bool { return !slices.Contains(doc.Algorithms, a) })
	}
	if len(m.algorithms) == 0 {
		return nil, fmt.Errorf("the provider signs ID tokens only with %q; one of %q is needed", doc.Algorithms, asymmetric)
	}
	return m, nil
}

// checkEndpoints refuses endpoints that would carry our secret, or fetch keys,
// over a connection that others can read or change.
func (p *Provider) checkEndpoints(m *metadata, doc document) error {
	issuer, err := url.Parse(p.cfg.Issuer)
	if err != nil {
		return err
	}
	for _, e := range []struct {
		name, url string
		required  bool
	}{
		{"authorization_endpoint", m.oauth.Endpoint.AuthURL, true},
		{"token_endpoint", m.oauth.Endpoint.TokenURL, true},
		{"jwks_uri", doc.JWKS, true},
		{"userinfo_endpoint", m.userinfo, false},
		{"end_session_endpoint", m.endSession, false},
	} {
		if e.url == "" && !e.required {
			continue
		}
		u, err := url.Parse(e.url)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" || u.User != nil || u.Fragment != "":
			return fmt.Errorf("discovery document: %s %q is not an absolute URL", e.name, clip(e.url))
		case issuer.Scheme == "https" && u.Scheme != "https", !secureOrLoopback(u):
			return fmt.Errorf("discovery document: %s %q must be https", e.name, clip(e.url))
		}
	}
	return nil
}

// lookAgain asks Run for a discovery soon. It never blocks.
func (p *Provider) lookAgain() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// jitter spreads d by a quarter either way, so that many proxies restarted
// together do not knock together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

// sleep waits for d or until woken; false when ctx ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-wake:
	}
	return true
}
