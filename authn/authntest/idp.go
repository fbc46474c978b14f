package authntest

import (
	"context"
	"crypto"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed idp/*.html idp/style.css
var idpAssets embed.FS

// IdPPerson is a person that the provider can sign in.
type IdPPerson struct {
	Sub       string
	Email     string
	Name      string
	Groups    []string
	Countries []string
	Verified  bool   // email_verified
	Disabled  bool   // cannot sign in, refresh or be asked about
	Note      string // one line for the person picker
}

// IdPClient is a relying party.
type IdPClient struct {
	ID, Secret             string // no secret: a public client, held to PKCE only
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	BackchannelLogoutURI   string
	Key                    crypto.PublicKey // private_key_jwt; instead of a secret
}

// IdPConfig is what [NewIdP] needs.
type IdPConfig struct {
	Issuer  string // where this handler is reached; its path is the prefix of every endpoint
	Clients []IdPClient
	People  []IdPPerson

	Title          string       // heading of the person picker
	Algorithm      string       // ES256 (default), RS256, PS256 or EdDSA
	CountriesClaim string       // default "country"
	MinimalIDToken bool         // e-mail, groups and countries from userinfo only
	ClientAuth     []string     // the only ways of client authentication; default client_secret_basic and client_secret_post
	NoIss          bool         // no iss parameter, promised or sent, as with most providers
	Profile        *IdPProfile  // describes people as that provider does
	HTTPClient     *http.Client // makes back-channel logout calls
	Now            func() time.Time
	Logger         *slog.Logger
}

// IdP is a small OpenID provider: discovery, the authorization code flow with PKCE and a
// page to choose a person on, refresh tokens that rotate, userinfo, keys that rotate, and
// sign-out with back-channel calls.
//
// It checks what a provider must check of its clients. It does not check people: a
// visitor is the person that they choose, so it listens on loopback only and serves tests
// and the demo. [IdP.SetFaults] makes it break its promises one by one.
type IdP struct {
	cfg    IdPConfig
	prefix string // path of the issuer, without trailing slash
	mux    *http.ServeMux
	pages  *template.Template
	now    func() time.Time
	log    *slog.Logger

	mu       sync.Mutex
	people   []IdPPerson
	faults   map[IdPFault]bool
	edit     func(claims map[string]any)
	reshape  func(claims map[string]any) // of ID tokens and userinfo alike
	refusal  *oauthError                 // answers every authorization request
	asked    url.Values                  // the newest authorization request
	oddKeys  []json.RawMessage           // published besides the keys that sign
	used     map[string]bool             // jti of client assertions
	keys     []idpKey                    // newest first; the newest signs
	codes    map[string]*idpGrant
	refresh  map[string]*idpGrant
	access   map[string]*idpGrant
	stopping chan struct{} // ends answers that are slow on purpose
	stop     sync.Once
}

// NewIdP makes a provider to be served at cfg.Issuer.
func NewIdP(cfg IdPConfig) (*IdP, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("issuer %q is not an absolute URL", cfg.Issuer)
	}
	for _, p := range cfg.People {
		if p.Sub == "" {
			return nil, errors.New("a person needs a sub")
		}
	}
	if cfg.Title == "" {
		cfg.Title = "Who are you?"
	}
	if cfg.CountriesClaim == "" {
		cfg.CountriesClaim = "country"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Timeout: 5 * time.Second}
	}
	key, err := newIdPKey(cfg.Algorithm)
	if err != nil {
		return nil, err
	}
	pages, err := template.ParseFS(idpAssets, "idp/*.html")
	if err != nil {
		return nil, err
	}
	p := &IdP{
		cfg: cfg, prefix: strings.TrimSuffix(issuer.Path, "/"), mux: http.NewServeMux(), pages: pages,
		now: cfg.Now, log: cfg.Logger, people: slices.Clone(cfg.People), faults: map[IdPFault]bool{},
		keys: []idpKey{key}, used: map[string]bool{}, codes: map[string]*idpGrant{}, refresh: map[string]*idpGrant{}, access: map[string]*idpGrant{},
		stopping: make(chan struct{}),
	}
	p.routes()
	return p, nil
}

func (p *IdP) routes() {
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /.well-known/openid-configuration": p.discovery,
		"GET /jwks":                             p.jwks,
		"GET /authorize":                        p.authorize,
		"POST /authorize":                       p.authorized,
		"POST /token":                           p.token,
		"GET /userinfo":                         p.userinfo,
		"POST /userinfo":                        p.userinfo,
		"POST /graph/me/getMemberObjects":       p.memberObjects,
		"GET /end-session":                      p.endSession,
		"POST /end-session":                     p.endSession,
		"GET /style.css": func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, idpAssets, "idp/style.css")
		},
	} {
		method, path, _ := strings.Cut(pattern, " ")
		p.mux.HandleFunc(method+" "+p.prefix+path, h)
	}
}

// StartIdP serves a provider on a free loopback port until the test ends. An
// empty Issuer becomes the address it got.
func StartIdP(t testing.TB, cfg IdPConfig) *IdP {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start the OpenID provider: %v", err)
	}
	if cfg.Issuer == "" {
		cfg.Issuer = "http://" + l.Addr().String()
	}
	p, err := NewIdP(cfg)
	if err != nil {
		t.Fatalf("start the OpenID provider: %v", err)
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("OpenID provider: %v", err)
		}
	}()
	t.Cleanup(func() {
		p.Close()
		srv.Close()
		<-done
	})
	return p
}

// Close ends answers that are slow on purpose.
func (p *IdP) Close() { p.stop.Do(func() { close(p.stopping) }) }

// Issuer returns the issuer identifier.
func (p *IdP) Issuer() string { return p.cfg.Issuer }

// ServeHTTP implements [http.Handler].
func (p *IdP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.broken(w, r) {
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// No scripts at all. The answer to the picker's form is a page that moves on
	// by itself, not a redirect: browsers hold redirects after a form to form-action,
	// through the whole chain of hosts that a sign-in passes.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	r.Body = http.MaxBytesReader(w, r.Body, 256<<10)
	p.mux.ServeHTTP(w, r)
}

// SetPerson adds a person, or replaces the one with the same sub.
func (p *IdP) SetPerson(person IdPPerson) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.people {
		if p.people[i].Sub == person.Sub {
			p.people[i] = person
			return
		}
	}
	p.people = append(p.people, person)
}

// Person returns the person with that sub.
func (p *IdP) Person(sub string) (IdPPerson, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, person := range p.people {
		if person.Sub == sub {
			return person, true
		}
	}
	return IdPPerson{}, false
}

// Disable closes a person's account: no sign-in, no refresh, no userinfo.
func (p *IdP) Disable(sub string) {
	if person, ok := p.Person(sub); ok {
		person.Disabled = true
		p.SetPerson(person)
	}
}

func (p *IdP) client(id string) (IdPClient, bool) {
	i := slices.IndexFunc(p.cfg.Clients, func(c IdPClient) bool { return c.ID == id && id != "" })
	if i < 0 {
		return IdPClient{}, false
	}
	return p.cfg.Clients[i], true
}

// page renders one of the provider's own pages.
func (p *IdP) page(w http.ResponseWriter, status int, name string, data map[string]any) {
	data["Prefix"], data["Title"] = p.prefix, p.cfg.Title
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := p.pages.ExecuteTemplate(w, name, data); err != nil {
		p.log.Warn("OpenID provider page", "page", name, "error", err)
	}
}
