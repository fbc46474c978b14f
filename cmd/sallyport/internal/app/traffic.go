package app

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy/assertion"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
	"sallyport/proxy/streams"
	"sallyport/proxy/trace"
)

// traffic is what goes along with requests: metrics, traces, the register of open
// streams, signed assertions, and the point at which there are too many requests.
type traffic struct {
	registry *prometheus.Registry
	observer *observe.Observer
	limits   limitLog
	tracer   *trace.Tracer // nil: no traces
	streams  *streams.Registry
	signer   *assertion.Signer
	shed     *edge.Shedder
}

func (a *App) newTraffic(ctx context.Context) (t *traffic, err error) {
	c := a.config
	t = &traffic{registry: prometheus.NewRegistry()}
	access := a.options.Logger
	if !c.AccessLog {
		access = nil
	}
	if t.observer, err = observe.New(observe.Config{Registry: t.registry, Routes: c.RouteNames(), Access: access}); err != nil {
		return nil, err
	}
	t.limits = limitLog{t.observer, a.options.Logger}
	if tr := c.Tracing; tr != nil {
		if t.tracer, err = trace.New(ctx, trace.Config{Endpoint: tr.Endpoint, Headers: tr.Headers, Sample: tr.Sample, Version: a.options.Version, Logger: a.options.Logger}); err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		a.teardown.add("traces", t.tracer.Close)
	}
	if t.streams, err = streams.New(streams.Config{
		Now: time.Now, Observe: t.limits.streamCut,
		Inspected: streams.NewBudget(c.Limits.InspectedPerSession, c.Limits.Inspected), MessageTime: c.Limits.MessageTime,
	}); err != nil {
		return nil, err
	}
	if t.signer, err = assertion.New(ctx, assertion.Config{Keys: a.store, Issuer: c.ExternalURL.String(), RotateEvery: 90 * 24 * time.Hour, Now: time.Now, Logger: a.options.Logger}); err != nil {
		return nil, err
	}
	t.shed, err = edge.NewShedder(edge.ShedConfig{
		Requests: c.Limits.Requests, Queued: c.Limits.Requests / 4, QueueFor: 500 * time.Millisecond, Streams: c.Limits.Streams, RetryAfter: 5 * time.Second,
		Memory: edge.LiveMemory(0), Verified: func(r *http.Request) bool { return a.front.gate.Verified(r) },
	})
	return t, err
}
