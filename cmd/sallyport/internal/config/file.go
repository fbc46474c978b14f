package config

import (
	"cmp"
	"time"

	"sallyport/proxy/upstream"
)

// file is sallyport.yaml as it is written. deploy/configure.md describes the keys for
// operators.
type file struct {
	Listen          string   `yaml:"listen,env"`
	OpsListen       string   `yaml:"ops_listen,env"`
	OpsHosts        []string `yaml:"ops_hosts"`
	ExternalURL     string   `yaml:"external_url,env"`
	Contact         string   `yaml:"contact"`
	TrustedProxies  []string `yaml:"trusted_proxies,env"`
	ForwardedHeader string   `yaml:"forwarded_header"`
	Internal        []string `yaml:"internal_networks,env"`
	ProxyProtocol   bool     `yaml:"proxy_protocol"`
	TLS             *struct {
		CertFile     string     `yaml:"cert_file"`
		KeyFile      string     `yaml:"key_file"`
		Certificates []filePair `yaml:"certificates"` // further ones, chosen by the name asked for
		ClientCAFile string     `yaml:"client_ca_file"`
		ClientCerts  string     `yaml:"client_certificates"`
		ClientSANs   []string   `yaml:"client_sans"`
	} `yaml:"tls"`
	ACME *struct {
		Email       string `yaml:"email"`
		AcceptTerms bool   `yaml:"accept_terms"`
		Directory   string `yaml:"directory"`
		CAFile      string `yaml:"ca_file"`
		Folder      string `yaml:"folder"`
	} `yaml:"acme"`
	RedirectListen string        `yaml:"redirect_listen,env"`
	HSTSMaxAge     time.Duration `yaml:"hsts_max_age"`
	AccessLog      bool          `yaml:"access_log"`
	Pprof          bool          `yaml:"pprof"`
	Tracing        *struct {
		Endpoint    string   `yaml:"endpoint,env"`
		Sample      *float64 `yaml:"sample"`
		HeadersFile string   `yaml:"headers_file"`
	} `yaml:"tracing"`
	OIDC struct {
		Issuer              string            `yaml:"issuer,env"`
		ClientID            string            `yaml:"client_id,env"`
		ClientSecretFile    string            `yaml:"client_secret_file"`
		ClientAuth          string            `yaml:"client_auth"`
		ClientKeyFile       string            `yaml:"client_key_file"`
		ClientKeyID         string            `yaml:"client_key_id"`
		Scopes              []string          `yaml:"scopes"`
		AuthorizationParams map[string]string `yaml:"authorization_params"`
		EmailClaim          string            `yaml:"email_claim"`
		EmailVerified       string            `yaml:"email_verified"`
		GroupsClaim         string            `yaml:"groups_claim"`
		GroupsFormat        string            `yaml:"groups_format"`
		GroupsEndpoint      string            `yaml:"groups_endpoint"`
		CountriesClaim      string            `yaml:"countries_claim"`
		RefreshInterval     time.Duration     `yaml:"refresh_interval"`
	} `yaml:"oidc"`
	WebAuthn struct {
		RPID   string `yaml:"rp_id"`
		RPName string `yaml:"rp_name"`
	} `yaml:"webauthn"`
	Session struct {
		MaxAge       time.Duration `yaml:"max_age"`
		IdleTimeout  time.Duration `yaml:"idle_timeout"`
		MaxPerPerson int64         `yaml:"max_per_person"`
		Handoff      string        `yaml:"handoff"`
	} `yaml:"session"`
	Store string `yaml:"store,env"`
	Audit struct {
		File string `yaml:"file"`
	} `yaml:"audit"`
	Policy           string        `yaml:"policy"`
	PolicyShadow     string        `yaml:"policy_shadow"`
	PolicyInvariants string        `yaml:"policy_invariants"`
	PolicySettle     time.Duration `yaml:"policy_settle"`
	PolicyExceptions string        `yaml:"policy_exceptions"`
	ExceptionDays    int64         `yaml:"policy_exceptions_max_days"`
	PolicyGuard      struct {
		MaxNewlyBlocked string `yaml:"max_newly_blocked"`
		MaxNewlyAllowed string `yaml:"max_newly_allowed"`
		BreakGlassGroup string `yaml:"break_glass_group"`
		Days            int64  `yaml:"days"`
	} `yaml:"policy_guard"`
	Roster string `yaml:"roster"`
	IPData struct {
		Databases []string `yaml:"databases"`
		NAT64     []string `yaml:"translators"`
		Lists     []struct {
			Name     string `yaml:"name"`
			Signal   string `yaml:"signal"`
			File     string `yaml:"file"`
			Format   string `yaml:"format"`
			Provider string `yaml:"provider"`
			Stated   bool   `yaml:"stated"`
			MaxShare string `yaml:"max_share"`
		} `yaml:"lists"`
	} `yaml:"ip_data"`
	Behavior struct {
		Retention     time.Duration `yaml:"retention"`
		RawAddresses  time.Duration `yaml:"raw_addresses"`
		Offices       []string      `yaml:"offices"`
		MobileASNs    []string      `yaml:"mobile_asns"`
		SatelliteASNs []string      `yaml:"satellite_asns"`
		Household     int64         `yaml:"household"`
	} `yaml:"behavior"`
	Limits struct {
		Header               int64         `yaml:"header_bytes"`
		URL                  int64         `yaml:"url_bytes"`
		HeaderLines          int64         `yaml:"header_lines"`
		Message              int64         `yaml:"message_bytes"`
		BatchCalls           int64         `yaml:"batch_calls"`
		Body                 int64         `yaml:"body_bytes"`
		Connections          int64         `yaml:"connections"`
		ConnectionsPerClient int64         `yaml:"connections_per_client"`
		Requests             int64         `yaml:"requests"`
		Streams              int64         `yaml:"streams"`
		StreamsPerSession    int64         `yaml:"streams_per_session"`
		CeremoniesPerMinute  int64         `yaml:"ceremonies_per_minute"`
		Inspected            int64         `yaml:"inspected_bytes"`
		InspectedPerSession  int64         `yaml:"inspected_bytes_per_session"`
		MessageTime          time.Duration `yaml:"message_time"`
		ChangesPerMinute     int64         `yaml:"changes_per_minute"`
	} `yaml:"limits"`
	Routes []fileRoute `yaml:"routes"`
}

type fileRoute struct {
	Name  string     `yaml:"name"`
	From  string     `yaml:"from"`
	To    []string   `yaml:"to,env"`
	Allow *fileAllow `yaml:"allow"`

	Groups []string `yaml:"groups"` // named, all, none, or names

	ConnectTimeout  time.Duration `yaml:"connect_timeout"`
	ResponseTimeout time.Duration `yaml:"response_timeout"`
	IdleTimeout     time.Duration `yaml:"idle_timeout"`
	MaxBody         int64         `yaml:"body_bytes"`
	PreserveHost    bool          `yaml:"preserve_host"`
	ExactPaths      bool          `yaml:"exact_paths"`
	StripPrefix     bool          `yaml:"strip_prefix"`
	Paths           struct {
		Allow []string `yaml:"allow"` // names of upstream.PathForms
	} `yaml:"paths"`

	TotalTimeout      time.Duration `yaml:"total_timeout"`
	MaxConnections    int64         `yaml:"max_connections"`
	WaitTimeout       time.Duration `yaml:"wait_timeout"`
	MaxResponseHeader int64         `yaml:"response_header_bytes"`
	Upgrades          []string      `yaml:"upgrades"`
	RPC               string        `yaml:"rpc"`
	RPCURI            bool          `yaml:"rpc_uri"`
	RPCPaths          []string      `yaml:"rpc_paths"`
	CutStale          bool          `yaml:"cut_stale_streams"`
	AllowedOrigins    []string      `yaml:"allowed_origins"`
	CrossSitePosts    []string      `yaml:"cross_site_posts"`
	Embeddable        bool          `yaml:"embeddable"`
	CookieDomain      string        `yaml:"cookie_domain"`
	RootWorkers       bool          `yaml:"root_service_worker"`
	TLS               *struct {
		CAFile     string `yaml:"ca_file"`
		ServerName string `yaml:"server_name"`
		CertFile   string `yaml:"cert_file"`
		KeyFile    string `yaml:"key_file"`
		MinVersion string `yaml:"min_version"`
	} `yaml:"tls"`
	Health *fileHealth `yaml:"health"`
}

type fileHealth struct {
	Path     string        `yaml:"path"`
	Interval time.Duration `yaml:"interval"`
	Timeout  time.Duration `yaml:"timeout"`
	Status   int64         `yaml:"status"`
}

func (f fileHealth) check() upstream.HealthCheck {
	return upstream.HealthCheck{Path: f.Path, Interval: f.Interval, Timeout: f.Timeout, Status: int(f.Status)}
}

type filePair struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

type fileAllow struct {
	Groups   []string `yaml:"groups"`
	Emails   []string `yaml:"emails"`
	Domains  []string `yaml:"domains"`
	Everyone bool     `yaml:"everyone"`
}

// DefaultLimits are the limits of a configuration that does not name any.
func DefaultLimits() Limits {
	b := builder{reader: newReader("", nil), f: defaults(), c: &Config{}}
	b.limits()
	return b.c.Limits
}

// defaults are chosen so that leaving a key out is the safe choice. The limits on a
// session are those of NIST SP 800-63B-4 for the highest assurance level (12 h),
// rounded down.
func defaults() file {
	var f file
	f.Listen = "127.0.0.1:8080"
	f.OpsListen = "127.0.0.1:9090"
	f.ForwardedHeader = "x-forwarded-for"
	f.OIDC.Scopes = []string{"openid", "email", "profile"}
	f.OIDC.ClientAuth, f.OIDC.EmailClaim, f.OIDC.EmailVerified = "auto", "email", "claim"
	f.OIDC.GroupsClaim, f.OIDC.GroupsFormat = "groups", "list"
	f.OIDC.RefreshInterval = 5 * time.Minute
	f.WebAuthn.RPName = "Sallyport"
	f.Session.MaxAge = 10 * time.Hour
	f.Session.IdleTimeout = time.Hour
	f.Session.MaxPerPerson = 20
	f.Session.Handoff = "auto"
	f.Store = "sqlite:state/sallyport.db"
	f.Audit.File = "state/audit.jsonl"
	f.Policy = "policy.yaml"
	f.Behavior.Retention = 400 * 24 * time.Hour
	f.Behavior.RawAddresses = 30 * 24 * time.Hour
	f.PolicySettle = 3 * time.Second
	f.PolicyGuard.MaxNewlyBlocked = "20%"
	f.PolicyGuard.MaxNewlyAllowed = maxNewlyAllowed
	f.Behavior.Household = 56
	f.PolicyGuard.Days = 7
	f.ExceptionDays = 90
	f.Limits.Header = 32 << 10
	f.Limits.URL = 8 << 10
	f.Limits.HeaderLines = 128
	f.Limits.Body = 1 << 30
	f.Limits.Message = 1 << 20
	f.Limits.BatchCalls = 100
	f.Limits.Connections = 20_000
	f.Limits.ConnectionsPerClient = 512
	f.Limits.Requests = 4096
	f.Limits.Streams = 16_384
	f.Limits.StreamsPerSession = 512
	f.Limits.CeremoniesPerMinute = 30
	f.Limits.ChangesPerMinute = 300
	f.Limits.Inspected = 64 << 20
	f.Limits.InspectedPerSession = 8 << 20
	f.Limits.MessageTime = time.Minute
	f.HSTSMaxAge = 365 * 24 * time.Hour
	f.AccessLog = true
	return f
}

// withDefaults gives a value to each limit that a route leaves out.
func (f fileRoute) withDefaults() fileRoute {
	f.ConnectTimeout = cmp.Or(f.ConnectTimeout, 10*time.Second)
	f.ResponseTimeout = cmp.Or(f.ResponseTimeout, time.Minute)
	f.IdleTimeout = cmp.Or(f.IdleTimeout, 10*time.Minute)
	f.WaitTimeout = cmp.Or(f.WaitTimeout, time.Second)
	f.MaxResponseHeader = cmp.Or(f.MaxResponseHeader, 256<<10)
	if h := f.Health; h != nil {
		h.Interval = cmp.Or(h.Interval, 10*time.Second)
		h.Timeout = cmp.Or(h.Timeout, min(2*time.Second, h.Interval))
	}
	return f
}
