package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// HealthCheck is the active check of a route's upstreams; without Path there is none.
type HealthCheck struct {
	// Path is asked for with GET, without identity and cookies.
	Path string
	// Interval is the time between two checks, Timeout what one may take.
	Interval, Timeout time.Duration
	// Status is the one answer that means healthy; zero is any 2xx.
	Status int
	// Host is the Host header; "" is the route's, or else the upstream's own.
	Host string
}

// An upstream is taken out after failedChecks in a row, and back with the first
// that passes. Until the first two are done it is believed to work.
const failedChecks = 2

func (h HealthCheck) check() error {
	if h.Path == "" {
		if h != (HealthCheck{}) {
			return inKey("health.path", errors.New("health: a check needs a path"))
		}
		return nil
	}
	var t Target
	path, query, _ := strings.Cut(h.Path, "?")
	switch {
	case t.setPath(path) != nil || t.setQuery(query) != nil || t.forms != 0:
		return inKey("health.path", fmt.Errorf("health: path %q: not a canonical path", h.Path))
	case h.Interval < 10*time.Millisecond:
		return inKey("health.interval", fmt.Errorf("health: interval %s: must be 10ms or more", h.Interval))
	case h.Timeout <= 0 || h.Timeout > h.Interval:
		return inKey("health.timeout", fmt.Errorf("health: interval %s, timeout %s: the timeout must be positive and no longer than the interval", h.Interval, h.Timeout))
	case h.Status != 0 && (h.Status < 200 || h.Status > 599):
		return inKey("health.status", fmt.Errorf("health: status %d: must be from 200 to 599", h.Status))
	}
	return nil
}

// Run checks upstreams until ctx ends: each in a goroutine of its own, so that
// one that hangs does not make the others' news old.
func (f *Forwarder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := make(map[*backend]context.CancelFunc)
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		used := make(map[*backend]bool)
		for _, b := range f.backends.all() {
			used[b] = true
			if b.key.health.Path == "" || running[b] != nil {
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			running[b] = cancel
			wg.Go(func() { b.check(ctx) })
		}
		for b, stop := range running {
			if !used[b] {
				stop()
				delete(running, b)
			}
		}
		select {
		case <-f.backends.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// check is the life of one upstream's active check.
func (b *backend) check(ctx context.Context) {
	tick := time.NewTicker(b.key.health.Interval)
	defer tick.Stop()
	failed := 0
	for {
		err := b.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		b.checked.Store(&failure{err, b.now()})
		if err == nil {
			failed = 0
			if b.down.CompareAndSwap(true, false) {
				b.log.Info("upstream passes its check again", "upstream", b.url.String())
			}
		} else if failed++; failed >= failedChecks && b.down.CompareAndSwap(false, true) {
			b.log.Warn("upstream fails its check: it gets no requests", "upstream", b.url.String(), "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe asks once. Redirects are answers like others: they are not followed.
func (b *backend) probe(ctx context.Context) error {
	h := b.key.health
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.scheme+"://"+b.host+h.Path, nil)
	if err != nil {
		return err
	}
	req.Host = h.Host
	req.Header.Set("User-Agent", "sallyport-health-check")
	res, err := b.long.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // read, so that the connection can be used again
	if res.StatusCode != h.Status && (h.Status != 0 || res.StatusCode/100 != 2) {
		return fmt.Errorf("the check was answered with %d", res.StatusCode)
	}
	return nil
}
