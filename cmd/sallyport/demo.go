package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/cmd/sallyport/internal/app"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/demo"
)

type demoCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to open the demo; loopback only (default 127.0.0.1:8080)."`
	Log    bool   `help:"Show the product's own log."`
}

// Run starts the whole product on loopback, with everything it needs made up.
func (d demoCmd) Run(ctx context.Context, std stdio) error {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return noRoom(err)
	}
	defer os.RemoveAll(dir)
	l, err := d.listeners()
	if err != nil {
		return err
	}
	defer l.close()
	_, port, err := net.SplitHostPort(l.front.Addr().String())
	if err != nil {
		return err
	}
	signIn, tool := demo.Origins(port)
	secret := rand.Text()
	addresses := demo.Addresses{Front: l.front.Addr().String(), Proxy: l.proxy.Addr().String(), Ops: l.ops.Addr().String(), Provider: l.provider.Addr().String(), Console: l.console.Addr().String()}
	file, err := demo.Write(dir, addresses, signIn, tool, secret)
	if err != nil {
		return noRoom(err)
	}
	logger := slog.New(slog.DiscardHandler)
	if d.Log {
		logger = slog.New(slog.NewTextHandler(std.err, nil))
	}
	idp, err := demo.IdP(addresses, signIn, secret, logger)
	if err != nil {
		return err
	}
	stop := serveAll(map[net.Listener]http.Handler{l.provider: idp, l.console: demo.Console(), l.front: demo.ByName(signIn, tool, demo.Front(addresses.Proxy))})
	defer stop()

	c, err := config.Load(file)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, c, app.Options{Logger: logger, Version: version()})
	if err != nil {
		return err
	}
	tickets, err := demoTickets(ctx, c, a.Tickets())
	if err != nil {
		return errors.Join(err, a.Close(ctx))
	}
	printDemo(std, tool, tickets)
	return a.Serve(ctx, app.Listeners{Data: l.proxy, Ops: l.ops}, nil)
}

// noRoom says where the demo keeps what it makes up.
func noRoom(err error) error {
	return fmt.Errorf("%w\nThe demo keeps its files in a temporary folder: set TMPDIR to one that has room and that you may write to", err)
}

type demoListeners struct{ front, proxy, ops, provider, console net.Listener }

func (d demoCmd) listeners() (l demoListeners, err error) {
	host, _, err := net.SplitHostPort(d.Listen)
	if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return l, fmt.Errorf("the demo is for this machine only: --listen %s is not a loopback address", d.Listen)
	}
	if l.front, err = net.Listen("tcp", d.Listen); err != nil {
		return l, fmt.Errorf("%w\nIs something else using it? Try --listen 127.0.0.1:0", err)
	}
	for _, p := range []*net.Listener{&l.proxy, &l.ops, &l.provider, &l.console} {
		if *p, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			l.close()
			return l, err
		}
	}
	return l, nil
}

func (l demoListeners) close() {
	for _, one := range []net.Listener{l.front, l.proxy, l.ops, l.provider, l.console} {
		if one != nil {
			one.Close()
		}
	}
}

// serveAll serves each handler and returns what ends them all.
func serveAll(handlers map[net.Listener]http.Handler) (stop func()) {
	var servers []*http.Server
	for l, h := range handlers {
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		go func() { _ = s.Serve(l) }()
	}
	return func() {
		for _, s := range servers {
			s.Close()
		}
	}
}

func demoTickets(ctx context.Context, c *config.Config, desk *enroll.Issuer) ([]string, error) {
	var urls []string
	for _, p := range demo.People {
		_, secret, err := desk.Mint(ctx, enroll.MintRequest{Email: authn.Email(p.Email), Note: "demo", By: "demo"})
		if err != nil {
			return nil, err
		}
		urls = append(urls, enrolURL(c, secret))
	}
	return urls, nil
}

func printDemo(std stdio, tool string, tickets []string) {
	fmt.Fprintf(std.out, `Sallyport demo: a treasury console behind the real product, on this machine only.

1. Enrol as Alice with her ticket (pick Alice, then create a passkey with this
   computer's fingerprint, face or PIN, or with a security key):
     %s
2. Open the treasury console, which has a host of its own:
     %s/
3. In the bar at the top, choose where you connect from. A VPN exit has to prove
   itself again; AWS, Tor and Pyongyang are blocked. After three countries within an
   hour, home has to prove itself too. "Make a payment" wants a proof that is at most a
   minute old.

`, tickets[0], tool)
	for i, p := range demo.People[1:] {
		fmt.Fprintf(std.out, "A ticket for %s (%s):\n     %s\n", p.Name, p.Does, tickets[i+1])
	}
	fmt.Fprintf(std.out, "\nNo passkey on this computer? In Chrome: developer tools, More tools, WebAuthn, add a virtual\nauthenticator with resident keys and user verification. Safari finds tool.localhost once\n/etc/hosts has the line: 127.0.0.1 tool.localhost\n\nEverything is forgotten when you press Ctrl-C.\n")
}
