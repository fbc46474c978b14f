package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"sallyport/cmd/sallyport/internal/app"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
)

type serveCmd struct {
	LogLevel slog.Level `default:"info" help:"debug, info, warn or error."`
	Strict   bool       `help:"Do not start with the last good policy if the policy file is refused."`
}

// ballast raises the heap size at which the collector first runs. With the IP data off
// the heap, so little is in use that it would run all the time. debug.SetGCPercent has
// the same effect only as a multiple: a value that suits an idle process lets the garbage
// of one with 10,000 streams grow to several times what they use. The ballast is never
// written to, so it is not resident.
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
		slog.New(slog.NewJSONHandler(w, options)).Error("log lines were lost: standard error was not read", "lines", lost)
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
		logger.Warn("cannot report to the service manager", "error", err)
	}
	c, err := config.LoadToServe(g.Config)
	if err != nil {
		return err
	}
	// From here on, a SIGHUP without a handler would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	limitMemory(logger)
	if err := checkFiles(logger, c.Limits.Connections); err != nil {
		return err
	}
	a, err := app.New(ctx, c, app.Options{Logger: logger, Version: version(), Lines: lines, Notify: notify, Strict: s.Strict})
	if err != nil && ctx.Err() != nil {
		logger.Info("told to stop while starting", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	listeners, err := app.Listen(ctx, c, inherited, logger)
	if err != nil {
		return errors.Join(err, a.Close(ctx))
	}
	for _, risk := range c.Risks() {
		logger.Warn("the configuration has a risk", "file", risk.File, "line", risk.Line, "what", risk.Message, "better", risk.Expected)
	}
	logger.Info("serving", "version", version(), "address", listeners.Data.Addr().String(), "ops", listeners.Ops.Addr().String(),
		"external_url", c.ExternalURL.String(), "routes", len(c.Routes), "policy", a.PolicyHash(), "audit_key", a.AuditKey())
	return a.Serve(ctx, listeners, hangup)
}
