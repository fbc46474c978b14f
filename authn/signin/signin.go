package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authn"
)

// Once keeps records that can be taken exactly once. See session.Once for the
// contract; this copy belongs to sign-in flows and logout tokens.
type Once interface {
	// Put stores payload under (purpose, key) until expires. It refuses a key
	// that is there already.
	Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error
	// PutBounded is Put for records that strangers can make: what is beyond the bound is
	// removed, oldest first.
	PutBounded(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time, b authn.Bound) error
	// Take removes and returns the payload in one statement; authn.ErrNotFound
	// if it is not there, was taken before, or has expired at now.
	Take(ctx context.Context, purpose string, key [32]byte, now time.Time) ([]byte, error)
}

// Config is what [New] needs.
type Config struct {
	Issuer       string // exactly as the provider writes it; http only for a loopback host
	ClientID     string
	ClientSecret string   // empty for a public client, which PKCE alone protects
	RedirectURL  string   // this proxy's callback, as registered at the provider
	Scopes       []string // "openid" is one of them

	// Claims are named, or given as a path: realm_access.roles, emails.0.
	EmailClaim     string // required
	EmailsVerified bool   // the operator states that this issuer verifies every address; a claim that says otherwise wins
	GroupsClaim    string // required
	GroupsFormat   GroupsFormat
	GroupsEndpoint string // Microsoft Graph's getMemberObjects: asked for groups that do not fit into a token; empty: not asked
	CountriesClaim string // empty: countries do not come from the provider

	// AuthorizationParams are sent along with every authorization request: what a provider
	// wants beyond the standard (Google's access_type).
	AuthorizationParams map[string]string

	ClientAuth ClientAuth
	ClientKey  *ClientKey // of private_key_jwt

	Flows      Once
	HTTPClient *http.Client // optional; its transport is used, with our time-outs and size limits around it
	Now        func() time.Time
	Logger     *slog.Logger
}

// Result is a person that the provider vouches for.
//
// It holds tokens: it prints and logs without them.
type Result struct {
	Person          authn.Person
	Notices         []Notice  // what is odd about the provider's answer
	AuthTime        time.Time // auth_time claim, or when the ID token was issued
	ProviderSession string    // sid claim; may be empty
	IDToken         string    // for id_token_hint at sign-out; empty after a refresh without one
	RefreshToken    string    // may be empty: the provider gave none
	Payload         []byte    // what Begin was given; nil after Refresh
}

// String names the person and nothing else, so that %v in a log line leaks no token.
func (r Result) String() string { return fmt.Sprintf("sign-in of %s", r.Person.Email) }

// GoString is String: %#v would print the tokens otherwise.
func (r Result) GoString() string { return r.String() }

// LogValue keeps tokens out of structured logs.
func (r Result) LogValue() slog.Value {
	return slog.GroupValue(slog.String("issuer", r.Person.Subject.Issuer), slog.String("subject", r.Person.Subject.ID),
		slog.String("email", string(r.Person.Email)))
}

// Provider is one OpenID provider as this client sees it. It is safe for
// concurrent use.
type Provider struct {
	cfg    Config
	client *http.Client // bounded in time and size; never follows redirects
	now    func() time.Time
	log    *slog.Logger

	// known is nil until the first discovery succeeds, and never nil again: a
	// request works on one consistent set of endpoints and keys.
	known   atomic.Pointer[metadata]
	lastErr atomic.Pointer[error]
	kick    chan struct{} // asks Run to look again soon; capacity 1
	replays sync.Mutex    // makes telling a replayed logout token apart one step in this process
	pace    pace
}

// New checks cfg and does no I/O. Call [Provider.Run] to make the provider usable.
func New(cfg Config) (*Provider, error) {
	if err := checkIssuer(cfg.Issuer); err != nil {
		return nil, err
	}
	redirect, err := url.Parse(cfg.RedirectURL)
	switch {
	case cfg.ClientID == "":
		return nil, errors.New("client id is empty")
	case cfg.Flows == nil:
		return nil, errors.New("no store for sign-in flows")
	case err != nil || !redirect.IsAbs() || redirect.Host == "" || redirect.Fragment != "" || redirect.User != nil:
		return nil, fmt.Errorf("redirect URL %q is not an absolute http(s) URL without fragment", cfg.RedirectURL)
	case !secureOrLoopback(redirect):
		return nil, fmt.Errorf("redirect URL %q must be https unless its host is loopback", cfg.RedirectURL)
	case !slices.Contains(cfg.Scopes, "openid"):
		return nil, errors.New("without the scope openid the provider tells nothing about the person")
	case cfg.EmailClaim == "" || cfg.GroupsClaim == "":
		return nil, errors.New("no claim for the e-mail address, or none for the groups")
	case cfg.EmailClaim != "email" && !cfg.EmailsVerified:
		return nil, fmt.Errorf("email_verified says nothing about the claim %q: the addresses of the issuer must be stated as verified", cfg.EmailClaim)
	case (cfg.ClientAuth == AuthPrivateKey) != (cfg.ClientKey != nil):
		return nil, errors.New("private_key_jwt needs a key, and a key needs private_key_jwt")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Provider{
		cfg: cfg, client: boundedClient(cfg.HTTPClient), now: cfg.Now,
		log: cfg.Logger.With("issuer", cfg.Issuer), kick: make(chan struct{}, 1), pace: defaultPace,
	}, nil
}

// Issuer returns the provider's identifier, the Issuer of every Subject it makes.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// Ready is nil once the provider's metadata is known. It stays nil when the
// provider goes away later: people who are signed in are not affected, and the
// endpoints rarely move.
func (p *Provider) Ready() error {
	if p.known.Load() != nil {
		return nil
	}
	if last := p.lastErr.Load(); last != nil {
		return *last
	}
	return unavailable(errors.New("discovery has not finished yet"))
}

// ready returns the metadata to work with, or the reason why there is none. A
// person is waiting, so Run is asked to try again now.
func (p *Provider) ready() (*metadata, error) {
	if m := p.known.Load(); m != nil {
		return m, nil
	}
	p.lookAgain()
	return nil, p.Ready()
}
