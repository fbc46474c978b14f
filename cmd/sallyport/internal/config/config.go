// Package config reads sallyport.yaml, the one configuration file, into checked
// values for every other package.
//
// It is strict: an unknown key, a value of the wrong type, a file that is not
// there, or a combination that cannot work is an error with file, line, column,
// what was expected and, for a typing mistake, what may have been meant. Mistakes are
// reported together, as far as the rest can be judged beside them: unknown keys and wrong
// types hide what is checked of values and of other files. Reading has no side effects:
// nothing is created, opened for writing, listened on or connected to.
//
// Relative paths are relative to the configuration file. ${VARIABLE} is expanded in
// the keys that deploy/configure.md marks with $, and nowhere else. Secrets are read from
// files, never from the configuration itself or from the environment.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"sallyport/authn/signin"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/strictyaml"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
	"sallyport/proxy/edge"
	"sallyport/proxy/rollout"
	"sallyport/proxy/upstream"
)

// Config is a complete, checked configuration. All paths are absolute.
type Config struct {
	File        string
	Text        []byte // of the file
	Listen      string
	OpsListen   string
	OpsHosts    []string // names that the ops port is asked for under, besides its addresses
	ExternalURL *url.URL // scheme and host only
	Contact     string

	TrustedProxies []netip.Prefix
	Forwarding     clientip.Header
	Internal       []netip.Prefix // private networks that are ours
	ProxyProtocol  bool
	TLS            *TLS // nil: plain HTTP, or ACME
	ACME           *edge.ACMEConfig
	RedirectListen string        // "": no listener that sends http to https
	HSTSMaxAge     time.Duration // 0: no HSTS
	AccessLog      bool
	Pprof          bool
	Tracing        *Tracing // nil: none

	OIDC     OIDC
	WebAuthn WebAuthn
	Session  Session

	Store     string // DSN, with an absolute path for SQLite
	AuditFile string

	PolicyFile   string
	PolicySource []byte
	PolicyUnread error  // why there is no PolicySource; only of LoadToServe
	ShadowFile   string // "": no policy in shadow
	ShadowSource []byte
	ShadowUnread error // why there is no ShadowSource, which stops nothing
	PolicyGuard  rollout.Guard
	PolicySettle time.Duration // for how long a policy file without a mark at its end is unchanged before it is taken
	// PolicyExceptions is the file of exceptions as read; nil: none is configured.
	PolicyExceptions *policy.Exceptions
	// ExceptionsUnread is why PolicyExceptions has no text, as PolicyUnread is.
	ExceptionsUnread error
	// What no policy may break, in addition to its own file's invariants; nil: nothing.
	PolicyInvariants *policy.Pinned
	Roster           Roster
	RosterFile       string // "": none
	RosterText       []byte

	IPData   ipintel.Config
	Behavior Behavior
	Routes   []Route
	Limits   Limits

	source *reader
}

// TLS names the certificates of the data port, the default one first, and those that
// clients may show.
type TLS struct {
	CertFile, KeyFile string
	More              []edge.CertPair
	Client            *edge.ClientAuthConfig // nil: clients are not asked
}

// Pairs are all certificates of the data port.
func (t *TLS) Pairs() []edge.CertPair {
	return append([]edge.CertPair{{CertFile: t.CertFile, KeyFile: t.KeyFile}}, t.More...)
}

// OIDC is the OpenID provider.
type OIDC struct {
	Issuer, ClientID, ClientSecret string
	ClientSecretFile               string
	ClientAuth                     signin.ClientAuth
	ClientKey                      *signin.ClientKey // of private_key_jwt; nil otherwise
	Scopes                         []string
	AuthorizationParams            map[string]string
	EmailClaim                     string
	EmailsVerified                 bool // the operator states that this issuer verifies every address
	GroupsClaim, CountriesClaim    string
	GroupsFormat                   signin.GroupsFormat
	GroupsEndpoint                 string
	RefreshInterval                time.Duration // claims that cannot be read end a session after three of them
}

// WebAuthn is the relying party.
type WebAuthn struct{ RPID, RPName string }

// Session bounds how long people stay signed in.
type Session struct {
	MaxAge, IdleTimeout time.Duration
	MaxPerPerson        int  // sessions of one person at once
	HandoffByPost       bool // sessions reach every host by a form, not by fetch
}

// Behavior says which history is kept of people's visits, and which networks are no
// single place.
type Behavior struct {
	Retention    time.Duration
	RawAddresses time.Duration // 0: addresses are never stored
	Offices      []netip.Prefix
	// In addition to those that package behavior knows.
	MobileASNs, SatelliteASNs []uint32
	Household                 int // bits of the IPv6 network that one household has
}

// Limits bound the cost of one request.
type Limits struct {
	Header int   // bytes, the request line included
	URL    int   // bytes of the request target; at most Header
	Lines  int   // of a request header
	Body   int64 // bytes, for routes that do not say

	Connections, ConnectionsPerClient int
	Requests, Streams                 int // at once; more requests wait a moment and then get 503
	StreamsPerSession                 int // requests and streams of one session at once
	CeremoniesPerMinute               int // sign-ins and passkey ceremonies of one client or account
	ChangesPerMinute                  int // different changes and calls of one session, each a line of the audit log

	Message    int // bytes of one JSON-RPC message
	BatchCalls int // of one JSON-RPC message

	// Bytes that are held of messages to JSON-RPC routes, in all and of one session, and
	// how long one may take.
	Inspected, InspectedPerSession int64
	MessageTime                    time.Duration
}

// Route is one protected tool.
type Route struct {
	Name  string
	From  *url.URL // scheme, host, path prefix
	To    []*url.URL
	Allow policy.Grant

	Groups proxy.SentGroups // what the tool is told of a person's groups

	ConnectTimeout, ResponseTimeout, IdleTimeout time.Duration
	MaxBody                                      int64
	PreserveHost                                 bool
	ExactPaths                                   bool               // the tools tell /Admin from /admin
	StripPrefix                                  bool               // the tools see paths without that of From
	PathForms                                    upstream.PathForms // what paths may have that is refused elsewhere

	TotalTimeout      time.Duration
	MaxConnections    int
	WaitTimeout       time.Duration // for one of MaxConnections
	MaxResponseHeader int64         // bytes
	Upgrades          []string      // protocols that a connection may switch to
	RPC               bool          // requests are JSON-RPC
	RPC1              bool          // of version 1.0
	RPCURI            bool          // those without a message pass too
	RPCPaths          []string      // paths at which the node takes messages, besides the usual ones
	CutStale          bool          // streams end when the proof they began with is too old
	AllowedOrigins    []string      // canonical: whose pages may act on the tool
	CrossSitePosts    []string      // paths at which forms of other sites arrive
	Embeddable        bool          // the site's other pages may show it in a frame, and load its images and scripts
	CookieDomain      string        // "": the tool's cookies are for its host alone
	RootWorkers       bool          // service workers may see the hand-off
	UpstreamTLS       upstream.TLSConfig
	Health            upstream.HealthCheck
}

// Load reads and checks a configuration file. The error is a policy.Diagnostics
// unless the file itself cannot be read.
func Load(file string) (*Config, error) { return loadFile(file, false) }

// LoadToServe is Load for a start: a policy file that cannot be read is no mistake,
// because the last policy that was in force may run in its place.
func LoadToServe(file string) (*Config, error) { return loadFile(file, true) }

func loadFile(file string, starting bool) (*Config, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	source, err := readFile(abs, strictyaml.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no configuration %s: `sallyport init` writes one to start from, and --config FILE names another", abs)
	case err != nil:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return parse(file, filepath.Dir(abs), source, starting)
}

// Parse is Load on bytes: name is used in messages, dir is what relative paths are
// relative to.
func Parse(name, dir string, source []byte) (*Config, error) {
	return parse(name, dir, source, false)
}

func parse(name, dir string, source []byte, starting bool) (*Config, error) {
	r := newReader(name, source)
	f := defaults()
	r.parse(source, &f)
	if err := r.Err(); err != nil {
		return nil, err // data that was not read must not be judged
	}
	b := builder{reader: r, dir: dir, f: f, c: &Config{File: name, Text: source, source: r}, reads: map[string]string{}, starting: starting}
	b.build()
	if err := r.Err(); err != nil {
		return nil, append(r.Found(), b.elsewhere...)
	}
	if b.elsewhere != nil {
		return nil, b.elsewhere
	}
	return b.c, nil
}

// Mistake is an error about the value at a path such as "ip_data.lists[0].file", found by
// a caller that can check more than this package does.
func (c *Config) Mistake(path, message, expected string) error {
	n := c.source.place(path)
	s := c.source.Another()
	s.At(n, withoutPasswords(strictyaml.Diagnostic{Message: named(path, message), Expected: expected}))
	return s.Err()
}

// Clients says which peers are believed about addresses, and which addresses are ours.
func (c *Config) Clients() clientip.Config {
	return clientip.Config{Trusted: c.TrustedProxies, Header: c.Forwarding, Internal: c.Internal}
}

// Origins returns every canonical origin people may be sent to.
func (c *Config) Origins() []string {
	seen := map[string]bool{}
	var list []string
	for _, u := range append([]*url.URL{c.ExternalURL}, routeURLs(c.Routes)...) {
		if o := u.Scheme + "://" + u.Host; !seen[o] {
			seen[o] = true
			list = append(list, o)
		}
	}
	return list
}

func routeURLs(routes []Route) []*url.URL {
	list := make([]*url.URL, len(routes))
	for i, r := range routes {
		list[i] = r.From
	}
	return list
}

// Grants is who each route's allow names.
func (c *Config) Grants() map[string]policy.Grant {
	m := map[string]policy.Grant{}
	for _, r := range c.Routes {
		m[r.Name] = r.Allow
	}
	return m
}

// RouteNames lists the routes in file order.
func (c *Config) RouteNames() []string {
	list := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		list[i] = r.Name
	}
	return list
}
