package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
)

type serveCmd struct {
	LogLevel slog.Level `default:"info" help:"debug, info, warn or error."`
}

// ballast is for the collector, which runs when garbage has grown as large as what is in use: with
// the IP data off the heap that is so little that it would run all the time. It is never
// touched, and made before there is any garbage that would have to be cleared for it: nothing of it is resident.
const ballast = 32 << 20

// lastLinesFor is how long the end of the log waits for its reader.
const lastLinesFor = 3 * time.Second

// Run gives the log a writer that never waits for its reader, and serves.
func (s serveCmd) Run(ctx context.Context, g *globals, std stdio) error {
	// The runtime ends a process that writes to a standard error without a reader, unless
	// the signal is ignored.
	signal.Ignore(syscall.SIGPIPE)
	options := &slog.HandlerOptions{Level: s.LogLevel}
	lines := observe.NewLines(std.err, time.Now, func(w io.Writer, lost int64) {
		slog.New(slog.NewJSONHandler(w, options)).Error("lines of the log were lost: standard error was not read", "lines", lost)
	})
	logger := slog.New(slog.NewJSONHandler(lines, options))
	slog.SetDefault(logger) // net/http.Transport logs by package log
	err := s.serve(ctx, g, lines, logger)
	if err != nil {
		fmt.Fprintln(lines, err) // the way of all lines: it must not wait either
		err = errTold
	}
	_ = lines.Close(lastLinesFor) // there is nowhere left to say that it was not read
	return err
}

// serve reads top to bottom: configuration, product, listeners, work, end.
func (s serveCmd) serve(ctx context.Context, g *globals, lines *observe.Lines, logger *slog.Logger) error {
	defer runtime.KeepAlive(make([]byte, ballast))
	// Before any file is opened: see InheritListeners.
	inherited, err := edge.InheritListeners()
	if err != nil {
		return err
	}
	defer inherited.Close()
	notify, err := edge.NewNotifier()
	if err != nil {
		logger.Warn("service manager cannot be told how the service is", "error", err)
	}
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	// From here on: a SIGHUP that nobody waits for ends the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	limitMemory(logger)
	if err := checkFiles(logger, c.Limits.Connections); err != nil {
		return err
	}
	a, err := newApp(ctx, c, logger)
	if err != nil && ctx.Err() != nil {
		logger.Info("told to stop while starting", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	open, err := a.sockets(ctx, inherited)
	if err != nil {
		return errors.Join(err, a.close(ctx))
	}
	a.redirect, a.notify, a.lines = open.redirect, notify, lines
	for _, risk := range c.Risks() {
		logger.Warn("configuration gives away more than most mean to", "file", risk.File, "line", risk.Line, "what", risk.Message, "better", risk.Expected)
	}
	logger.Info("serving", "version", version(), "address", open.data.Addr().String(), "ops", open.ops.Addr().String(),
		"external_url", c.ExternalURL.String(), "routes", len(c.Routes), "policy", a.gate.Current().Policy.Hash(), "audit_key", a.audit.Key())
	return a.serve(ctx, open.data, open.ops, hangup)
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
	a.noteOperators(work)
	wait := a.background(work)
	dataServer, err := a.dataServer()
	if err != nil {
		stopWork()
		wait()
		return errors.Join(err, a.close(ctx))
	}
	opsServer, err := edge.New(edge.Config{Handler: a.opsHandler(), Logger: a.logger,
		Limits: edge.Limits{HeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, Exempt: a.config.TrustedProxies}})
	if err != nil {
		stopWork()
		wait()
		return errors.Join(err, a.close(ctx))
	}
	failed := make(chan error, 3)
	go func() { failed <- dataServer.Serve(data) }()
	go func() { failed <- opsServer.Serve(ops) }()
	if a.redirect != nil {
		redirect, err := a.redirectServer()
		if err != nil {
			failed <- err
		} else {
			defer redirect.Close()
			go func() { failed <- redirect.Serve(a.redirect) }()
		}
	}
	if a.notify != nil {
		if err := a.notify.Ready("serving"); err != nil {
			a.logger.Warn("service manager cannot be told how the service is", "error", err)
		}
		go a.notify.Watch(work, func() bool { return a.audit.Health() == nil })
		defer func() { _ = a.notify.Stopping() }()
	}

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
	if stop := dataServer.Drain(drained); stop != nil {
		a.logger.Warn("requests were cut off at the end of the drain time")
	}
	opsServer.Close()
	stopWork()
	wait()
	// A time of its own: what is still to be written must not fail because the drain took long.
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), closeFor)
	defer cancelEnd()
	return errors.Join(err, a.close(end))
}
