package app

import (
	"context"
	"errors"
	"os"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/upstream"
)

// drainFor is how long requests in flight may go on after the order to stop.
// closeFor is how long the stores may then take to write what they hold.
const (
	drainFor = 20 * time.Second
	closeFor = 10 * time.Second
)

// Serve answers requests until ctx ends or a listener fails, then ends in order: no new
// requests, the ones in flight finish, then what runs beside them, then the stores. It
// closes a. Each value from reload (SIGHUP; nil: none come) is an order to Reload.
func (a *App) Serve(ctx context.Context, l Listeners, reload <-chan os.Signal) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	newOutbox(a.store, a.audit, a.options.Logger).first(work)
	servers, err := a.servers(l)
	if err != nil {
		l.Close()
		return errors.Join(err, a.closeInTime(ctx))
	}
	wait := a.background(work)
	failed := servers.start()
	if a.options.Notify != nil {
		if err := a.options.Notify.Ready("serving"); err != nil {
			a.options.Logger.Warn("cannot report to the service manager", "error", err)
		}
		go a.options.Notify.Watch(work, func() bool { return a.audit.Health() == nil })
		defer func() { _ = a.options.Notify.Stopping() }()
	}
	for running := true; running; {
		select {
		case <-ctx.Done():
			a.options.Logger.Info("stopping", "drain", a.drain.String())
			running = false
		case err = <-failed:
			running = false
		case <-reload:
			a.reloader.onSIGHUP(ctx) // which may wait for a file, and for the guard: not past the order to stop
		}
	}
	a.stopping.Store(true)
	if servers.redirect != nil {
		servers.redirect.Close()
	}
	drained, cancel := context.WithTimeout(work, a.drain)
	defer cancel()
	if stop := servers.data.Drain(drained); stop != nil {
		a.options.Logger.Warn("requests were cut off at the end of the drain time")
	}
	servers.ops.Close()
	stopWork()
	wait()
	return errors.Join(err, a.closeInTime(ctx))
}

// closeInTime closes within a time of its own: the last writes must not fail because the
// drain took long.
func (a *App) closeInTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeFor)
	defer cancel()
	return a.Close(ctx)
}

// servers are the servers on the listeners.
type servers struct {
	Listeners
	data, ops, redirect *edge.Server // redirect: nil if there is no listener for it
}

func (a *App) servers(l Listeners) (s servers, err error) {
	s.Listeners = l
	if s.data, err = a.dataServer(); err != nil {
		return s, err
	}
	if s.ops, err = a.opsServer(); err != nil {
		return s, err
	}
	if l.Redirect != nil {
		s.redirect, err = redirectServer(a.config, a.certificates, func() *upstream.Table { return a.front.gate.Current().Routes })
	}
	return s, err
}

// start serves, and returns where the first failure is told.
func (s servers) start() <-chan error {
	failed := make(chan error, 3)
	go func() { failed <- s.data.Serve(s.Data) }()
	go func() { failed <- s.ops.Serve(s.Ops) }()
	if s.redirect != nil {
		go func() { failed <- s.redirect.Serve(s.Redirect) }()
	}
	return failed
}
