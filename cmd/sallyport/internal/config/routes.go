package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/upstream"
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// name checks a name and that it is the only one.
func (b *builder) name(key, what, name string, seen map[string]bool) {
	if !b.required(key, name, "lower-case letters, digits and dashes") {
		return
	}
	if !validName.MatchString(name) {
		b.at(key, fmt.Sprintf("%q cannot name a %s", name, what), "lower-case letters, digits and dashes, at most 63")
	}
	if seen[name] {
		b.at(key, fmt.Sprintf("there are two %ss with the name %q", what, name), "a name of its own for each")
	}
	seen[name] = true
}

func (b *builder) routes() {
	if len(b.f.Routes) == 0 {
		b.at("routes", "there is no route, so there is nothing to protect", "at least one route with name, from, to and allow")
	}
	names := map[string]bool{}
	for i, f := range b.f.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		b.routeLimits(key, f)
		f = f.withDefaults()
		b.name(key+".name", "route", f.Name, names)
		r := Route{Name: f.Name, ConnectTimeout: f.ConnectTimeout, ResponseTimeout: f.ResponseTimeout, IdleTimeout: f.IdleTimeout, MaxBody: f.MaxBody}
		b.dataPlane(key, f, &r)
		r.From = b.from(key+".from", f.Name, f.From)
		if f.StripPrefix && (r.From.Path == "/" || r.From.Path == "") && b.OK() {
			b.at(key+".strip_prefix", fmt.Sprintf("%s has no path to cut off", f.From), "from with a path, such as https://tools.example.com/grafana; or leave it out")
		}
		b.crossOrigin(key, f, &r)
		r.To = b.to(key+".to", f.To)
		r.PreserveHost = b.preserveHost(key+".preserve_host", f.PreserveHost, r.To)
		r.Allow = b.allow(key+".allow", f.Name, f.Allow)
		r.Groups = b.sentGroups(key+".groups", f.Groups, r.Allow.Groups)
		b.c.Routes = append(b.c.Routes, r)
	}
	if b.OK() {
		b.conflicts()
	}
}

// routeLimits refuses a limit of 0: it may be meant for "at once" or for "none", and would
// be the default.
func (b *builder) routeLimits(key string, f fileRoute) {
	limits := map[string]int64{
		"connect_timeout": int64(f.ConnectTimeout), "response_timeout": int64(f.ResponseTimeout), "idle_timeout": int64(f.IdleTimeout),
		"total_timeout": int64(f.TotalTimeout), "wait_timeout": int64(f.WaitTimeout), "body_bytes": f.MaxBody, "max_connections": f.MaxConnections,
	}
	if h := f.Health; h != nil {
		limits["health.interval"], limits["health.timeout"], limits["health.status"] = int64(h.Interval), int64(h.Timeout), h.Status
	}
	for name, n := range limits {
		if _, given := b.places[key+"."+name]; given && n == 0 {
			b.at(key+"."+name, "0 is no limit", "more than 0 (1ms not to wait); without the key, its default holds")
		}
	}
	const least = 1 << 10
	if _, given := b.places[key+".response_header_bytes"]; given && f.MaxResponseHeader < least {
		b.at(key+".response_header_bytes", fmt.Sprintf("no answer has a header of at most %d bytes", f.MaxResponseHeader), fmt.Sprintf("%d or more", least))
	}
}

// preserveHost is true unless said otherwise for tools in clear text, which are next door
// and compare Host with Origin (Jupyter) or make redirects of it (Tomcat). A TLS upstream
// usually answers to its own name alone.
func (b *builder) preserveHost(key string, given bool, to []*url.URL) bool {
	if _, ok := b.places[key]; ok {
		return given
	}
	return !slices.ContainsFunc(to, func(u *url.URL) bool { return u.Scheme != "http" && u.Scheme != "h2c" && u.Scheme != "unix" })
}

// sentGroups is which of a person's groups a tool gets: those that its own allow names
// unless configured otherwise.
func (b *builder) sentGroups(key string, list, allowed []string) proxy.SentGroups {
	const expected = "named (the default: those in allow), all, none, or a list of names that are sent besides those in allow"
	if len(list) == 1 {
		switch list[0] {
		case "all":
			return proxy.SentGroups{All: true}
		case "none":
			return proxy.SentGroups{}
		case "named":
			list = nil
		}
	}
	for _, name := range list {
		if name == "all" || name == "none" || name == "named" || strings.TrimSpace(name) == "" {
			b.at(key, fmt.Sprintf("%q is no group to send along with others", name), expected)
		}
	}
	return proxy.SentGroups{Named: append(slices.Clone(allowed), list...)}
}

// conflicts finds the routes that the table of routes refuses: for a mistake in a key, or
// because two are for one place, or one cannot be reached. The table says which mistake it
// is; this finds the first route that causes it.
func (b *builder) conflicts() {
	if _, err := b.c.RouteTable(); err == nil {
		return
	}
	var good []Route
	for i, r := range b.c.Routes {
		if b.Full() {
			return
		}
		with := append(good[:len(good):len(good)], r)
		if _, err := routeTable(with, b.c.Limits.Body); err != nil {
			b.routeMistakes(fmt.Sprintf("routes[%d]", i), err)
			continue
		}
		good = with
	}
}

// routeMistakes reports what the table says about one route at the keys that it is about.
func (b *builder) routeMistakes(route string, err error) {
	wrong, ok := errors.AsType[*upstream.KeyError](err)
	if !ok {
		b.at(route+".from", err.Error(), "a host or a path of its own for each route")
		return
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			b.routeMistakes(route, one)
		}
		return
	}
	if inner := errors.Unwrap(err); inner != nil && err != error(wrong) {
		b.routeMistakes(route, inner)
		return
	}
	key, _, _ := strings.Cut(wrong.Key, "[")
	b.at(route+"."+wrong.Key, err.Error(), map[string]string{
		"from":            "the URL that people open, such as https://tool.example.com",
		"to":              "the URL of the tool, such as http://127.0.0.1:3000; each upstream once",
		"upgrades":        "names of protocols, such as websocket",
		"health.path":     "the path that says how the tool is, such as /healthz",
		"health.interval": "a duration such as 10s",
		"health.timeout":  "a duration that is no longer than the interval",
		"health.status":   "200 to 599",
		"tls":             "an https upstream, with cert_file and key_file or neither",
		"tls.min_version": `"1.2" or "1.3"`,
	}[key])
}

// RouteTable turns the routes into the table that requests are matched on.
func (c *Config) RouteTable() (*upstream.Table, error) { return routeTable(c.Routes, c.Limits.Body) }

func routeTable(routes []Route, maxBody int64) (*upstream.Table, error) {
	configs := make([]upstream.RouteConfig, len(routes))
	for i, r := range routes {
		to := make([]string, len(r.To))
		for j, u := range r.To {
			to[j] = u.String()
		}
		configs[i] = upstream.RouteConfig{
			Name: r.Name, From: r.From.String(), To: to, Exact: r.ExactPaths, StripPrefix: r.StripPrefix, Forms: r.PathForms, MaxBody: r.MaxBody,
			Timeouts:       upstream.Timeouts{Connect: r.ConnectTimeout, ResponseHeader: r.ResponseTimeout, Idle: r.IdleTimeout, Total: r.TotalTimeout, Wait: r.WaitTimeout},
			AllowedOrigins: r.AllowedOrigins, Embeddable: r.Embeddable, CookieDomain: r.CookieDomain,
			MaxConns: r.MaxConnections, MaxResponseHeader: r.MaxResponseHeader, Upgrades: r.Upgrades, TLS: r.UpstreamTLS, Health: r.Health,
		}
		if !r.PreserveHost {
			configs[i].Host = r.To[0].Host
		}
		if r.MaxBody == 0 {
			configs[i].MaxBody, configs[i].SharedMaxBody = maxBody, true
		}
	}
	return upstream.NewTable(configs)
}

func (b *builder) to(key string, list []string) []*url.URL {
	if len(list) == 0 {
		b.at(key, "the route leads nowhere", "the URL of the tool, such as http://127.0.0.1:3000")
	}
	var urls []*url.URL
	for i, raw := range list {
		k := fmt.Sprintf("%s[%d]", key, i)
		if _, ok := b.places[k]; !ok {
			k = key
		}
		if u, other := b.otherUpstream(k, raw); other {
			urls = append(urls, u)
			continue
		}
		if u := b.origin(k, raw); u != nil && b.c.ExternalURL != nil {
			if u.Path != "" && u.Path != "/" {
				b.at(k, fmt.Sprintf("%q has a path", raw), "scheme and host only: requests keep their path")
			}
			if u.Host == b.f.Listen || u.Host == b.c.ExternalURL.Host {
				b.at(k, "the route leads back to Sallyport itself", "the address of the tool")
			}
			u.Path = ""
			urls = append(urls, u)
		}
	}
	return urls
}

// allow is required: a route without one is a mistake, not an open door.
func (b *builder) allow(key, route string, a *fileAllow) policy.Grant {
	const expected = "allow: {groups: [...]}, {emails: [...]}, {domains: [...]} or {everyone: true}"
	if a == nil {
		b.at(key, fmt.Sprintf("route %q does not say who may use it", route), expected)
		return policy.Grant{}
	}
	if a.Everyone == (len(a.Groups)+len(a.Emails)+len(a.Domains) > 0) {
		message := "allow names no one"
		if a.Everyone {
			message = "everyone and a narrower list contradict each other"
		}
		b.at(key, message, expected)
	}
	g := policy.Grant{Everyone: a.Everyone, Groups: a.Groups}
	for i, e := range a.Emails {
		email, err := authn.ParseEmail(e)
		switch {
		case err != nil:
			b.at(fmt.Sprintf("%s.emails[%d]", key, i), err.Error(), "an e-mail address")
		case strings.HasPrefix(e, "*"):
			b.at(fmt.Sprintf("%s.emails[%d]", key, i), fmt.Sprintf("%q is no pattern, and no one's address", e), "an e-mail address, or domains: ["+email.Domain()+"]")
		}
		g.Emails = append(g.Emails, string(email))
	}
	for i, d := range a.Domains {
		email, err := authn.ParseEmail("x@" + d)
		if err != nil || strings.HasPrefix(d, "*") {
			b.at(fmt.Sprintf("%s.domains[%d]", key, i), fmt.Sprintf("%q is not a domain", d), "the part after the @, such as example.com")
		}
		g.Domains = append(g.Domains, email.Domain())
	}
	for i, group := range a.Groups {
		if strings.TrimSpace(group) == "" {
			b.at(fmt.Sprintf("%s.groups[%d]", key, i), "an empty group name", "a group as the provider names it")
		}
	}
	return g
}
