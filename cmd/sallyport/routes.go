package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/upstream"
)

type routesCmd struct {
	JSON bool `name:"json" help:"One JSON object a line."`
}

// routeLine is one upstream of one route.
type routeLine struct {
	Route string `json:"route"`
	From  string `json:"from"`
	upstream.UpstreamState
}

// Run asks the running proxy, on its ops port. It answers no if an upstream is not
// healthy.
func (c routesCmd) Run(ctx context.Context, g *globals, std stdio) error {
	cfg, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	states, err := askRoutes(ctx, cfg.OpsListen)
	if err != nil {
		return err
	}
	var lines []routeLine
	healthy := true
	for _, r := range states {
		for _, u := range r.Upstreams {
			lines = append(lines, routeLine{r.Route, r.From, u})
			healthy = healthy && u.Healthy
		}
	}
	err = list(std.out, c.JSON, lines, "ROUTE\tFROM\tUPSTREAM\tHEALTHY\tUNDER WAY\tREQUESTS\tERRORS\tLAST ERROR", func(w io.Writer, l routeLine) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%t\t%d\t%d\t%d\t%s\n", l.Route, l.From, l.URL, l.Healthy, l.Outstanding, l.Requests, l.Errors, l.LastError)
	})
	if err == nil && !healthy {
		return errNo
	}
	return err
}

func askRoutes(ctx context.Context, ops string) (states []upstream.RouteState, err error) {
	host, port, err := net.SplitHostPort(ops)
	if err != nil {
		return nil, err
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/routes", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the proxy does not answer on its ops port: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy's ops port answered %s", res.Status)
	}
	return states, json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(&states)
}
