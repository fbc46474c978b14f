package config

import (
	"cmp"

	"sallyport/authn/signin"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/whole"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
	"sallyport/proxy/portal"
	"sallyport/proxy/rollout"
	"sallyport/proxy/upstream"
)

// RequestReaders returns what finds the route and the client of a request.
func (c *Config) RequestReaders() (*upstream.Table, *clientip.Resolver, error) {
	table, err := c.RouteTable()
	if err != nil {
		return nil, nil, err
	}
	clients, err := clientip.New(c.Clients())
	return table, clients, err
}

// Policies returns the enforced policy and the one in shadow, as read, not compiled.
func (c *Config) Policies() rollout.Policies {
	pins := c.Text
	if p := c.PolicyInvariants; p != nil {
		pins = p.Source
	}
	return rollout.Policies{
		PinsWhole: whole.Ended(pins),
		Enforced: policy.Config{
			Pinned: c.PolicyInvariants, Exceptions: c.PolicyExceptions, Name: c.PolicyFile, Source: c.PolicySource,
			Routes: c.RouteNames(), Grants: c.Grants(), NoAttestation: true,
		},
		Unread: c.PolicyUnread, ExceptionsUnread: c.ExceptionsUnread,
		ShadowName: c.ShadowFile, ShadowSource: c.ShadowSource, ShadowUnread: c.ShadowUnread,
	}
}

// History returns what says which networks are no person's place, and how long history is
// kept. Store, Now, Logger and Key are for the caller to set.
func (c *Config) History() behavior.Config {
	return behavior.Config{
		Offices: c.Behavior.Offices, MobileASNs: c.Behavior.MobileASNs, SatelliteASNs: c.Behavior.SatelliteASNs, Household: c.Behavior.Household, Translators: c.IPData.NAT64,
		Retention: c.Behavior.Retention, RawAddresses: c.Behavior.RawAddresses,
	}
}

// Texts returns the files that come into force together, and are whole by the same rule.
func (c *Config) Texts() []rollout.Text {
	list := []rollout.Text{{Name: c.File, Source: c.Text}}
	if c.RosterFile != "" {
		list = append(list, rollout.Text{Name: c.RosterFile, Source: c.RosterText})
	}
	if p := c.PolicyInvariants; p != nil {
		list = append(list, rollout.Text{Name: p.Name, Source: p.Source})
	}
	return list
}

// SignIn returns the settings of the OpenID relying party. Flows, Now and Logger are
// for the caller to set.
func (c *Config) SignIn() signin.Config {
	return signin.Config{
		Issuer: c.OIDC.Issuer, ClientID: c.OIDC.ClientID, ClientSecret: c.OIDC.ClientSecret,
		RedirectURL: c.ExternalURL.String() + portal.Prefix + "callback", Scopes: c.OIDC.Scopes,
		EmailClaim: c.OIDC.EmailClaim, EmailsVerified: c.OIDC.EmailsVerified,
		GroupsClaim: c.OIDC.GroupsClaim, GroupsFormat: c.OIDC.GroupsFormat, GroupsEndpoint: c.OIDC.GroupsEndpoint, CountriesClaim: c.OIDC.CountriesClaim,
		AuthorizationParams: c.OIDC.AuthorizationParams, ClientAuth: c.OIDC.ClientAuth, ClientKey: c.OIDC.ClientKey,
	}
}

// RouteOptions returns what the gate does differently on some routes, by their names.
func (c *Config) RouteOptions() map[string]proxy.RouteOptions {
	m := map[string]proxy.RouteOptions{}
	for _, r := range c.Routes {
		size, key := c.messageBytes(r)
		m[r.Name] = proxy.RouteOptions{
			RPC: r.RPC, RPC1: r.RPC1, RPCBytes: size, RPCBytesKey: key, RPCCalls: c.Limits.BatchCalls, RPCURI: r.RPCURI, RPCPaths: r.RPCPaths,
			CutStale: r.CutStale, RootWorkers: r.RootWorkers, Groups: r.Groups, CrossSitePosts: r.CrossSitePosts,
		}
	}
	return m
}

// messageBytes is the largest JSON-RPC message of a route, and the key that says so:
// the route's limit of bodies holds for messages too.
func (c *Config) messageBytes(r Route) (n int, key string) {
	n, key = c.Limits.Message, "limits.message_bytes"
	switch body := cmp.Or(r.MaxBody, c.Limits.Body); {
	case body <= 0 || body >= int64(n):
	case r.MaxBody > 0:
		n, key = int(body), "body_bytes of route "+r.Name
	default:
		n, key = int(body), "limits.body_bytes"
	}
	return n, key
}
