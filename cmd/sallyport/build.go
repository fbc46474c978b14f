package main

import (
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/clientip"
	"sallyport/proxy/upstream"
)

// routeTable turns the configured routes into the table that requests are matched on.
func routeTable(c *config.Config) (*upstream.Table, error) {
	routes := make([]upstream.RouteConfig, len(c.Routes))
	for i, r := range c.Routes {
		to := make([]string, len(r.To))
		for j, u := range r.To {
			to[j] = u.String()
		}
		routes[i] = upstream.RouteConfig{
			Name: r.Name, From: r.From.String(), To: to, MaxBody: r.MaxBody,
			Timeouts: upstream.Timeouts{Connect: r.ConnectTimeout, ResponseHeader: r.ResponseTimeout, Idle: r.IdleTimeout},
		}
		if !r.PreserveHost {
			routes[i].Host = r.To[0].Host
		}
		if r.MaxBody == 0 {
			routes[i].MaxBody = c.Limits.Body
		}
	}
	return upstream.NewTable(routes)
}

func clientResolver(c *config.Config) (*clientip.Resolver, error) {
	return clientip.New(clientip.Config{Trusted: c.TrustedProxies, TrustUnix: c.TrustUnix, Header: c.Forwarding})
}
