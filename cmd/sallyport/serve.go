package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sallyport/cmd/sallyport/internal/config"
)

type serveCmd struct {
	LogLevel slog.Level `default:"info" help:"debug, info, warn or error."`
}

// Run reads top to bottom: configuration, product, listeners, work, end.
func (s serveCmd) Run(ctx context.Context, g *globals, std streams) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	// From here on: a SIGHUP that nobody waits for ends the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	logger := slog.New(slog.NewJSONHandler(std.err, &slog.HandlerOptions{Level: s.LogLevel}))
	a, err := newApp(ctx, c, logger)
	if err != nil && ctx.Err() != nil {
		logger.Info("told to stop while starting", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	data, err := a.listenData()
	if err != nil {
		return errors.Join(err, a.close(ctx))
	}
	ops, err := net.Listen("tcp", c.OpsListen)
	if err != nil {
		data.Close()
		return errors.Join(fmt.Errorf("ops_listen: %w", err), a.close(ctx))
	}
	logger.Info("serving", "version", version(), "address", data.Addr().String(), "ops", ops.Addr().String(),
		"external_url", c.ExternalURL.String(), "routes", len(c.Routes), "policy", a.gate.Current().Policy.Hash(), "audit_key", a.audit.Key())
	return a.serve(ctx, data, ops, hangup)
}

// drainFor is how long requests in flight may go on after the order to stop.
// closeFor is how long the stores may then take to write what they hold.
const (
	drainFor = 20 * time.Second
	closeFor = 10 * time.Second
)

// serve runs until ctx ends or a listener fails, then ends in order: no new requests,
// the ones in flight finish, then what runs beside them, then the stores.
func (a *app) serve(ctx context.Context, data, ops net.Listener, hangup <-chan os.Signal) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	wait := a.background(work)
	dataServer, opsServer := a.dataServer(), a.opsServer()
	failed := make(chan error, 2)
	go func() { failed <- dataServer.Serve(data) }()
	go func() { failed <- opsServer.Serve(ops) }()

	var err error
	for running := true; running; {
		select {
		case <-ctx.Done():
			a.logger.Info("stopping", "drain", a.drain.String())
			running = false
		case err = <-failed:
			running = false
		case <-hangup:
			a.hangup(work)
		}
	}
	a.stopping.Store(true)
	drained, cancel := context.WithTimeout(work, a.drain)
	defer cancel()
	if stop := dataServer.Shutdown(drained); stop != nil {
		a.logger.Warn("requests were cut off at the end of the drain time")
		dataServer.Close()
	}
	opsServer.Close()
	stopWork()
	wait()
	// A time of its own: what is still to be written must not fail because the drain took long.
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), closeFor)
	defer cancelEnd()
	return errors.Join(err, a.close(end))
}

// dataServer is the server people reach. Its timeouts are against slow clients: a header must
// come within ten seconds; bodies and answers may take as long as they keep moving.
func (a *app) dataServer() *http.Server {
	return &http.Server{
		Handler:           a.gate,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    a.config.Limits.Header,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
		Protocols:         protocols(a.config.TLS != nil),
	}
}
