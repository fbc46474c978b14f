// Package trace tells a collector how long each part of a request took: OpenTelemetry
// spans, sent by OTLP over HTTP.
//
// It observes and nothing else, as proxy/observe does: spans that cannot be delivered are
// dropped, and no request waits for them. They carry the route, the action, the status
// and the incident; never a person, an address, a path, a query or a header. A nil
// [Tracer], and the nil [Request] that it begins, do nothing and cost nothing.
//
// A request is one trace: "METHOD route", and in it "judge" and "upstream". The tool gets
// the context of the last one in traceparent (W3C Trace Context), so that its own spans
// hang below. A trace from a trusted proxy is continued. From any other client it is
// replaced: strangers could otherwise have everything sampled, or write into the traces
// of others.
package trace

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"sallyport/proxy/observe"
)

// Config of a Tracer.
type Config struct {
	Endpoint string            // URL of the collector, with the path (usually /v1/traces)
	Headers  map[string]string // sent to it, such as an API key
	Sample   float64           // share of the traces that begin here, 0 to 1
	Version  string            // of this program
	Every    time.Duration     // longest wait of a finished span; 0 is 5 s
	Logger   *slog.Logger
}

// Tracer makes spans. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   api.Tracer
	logger   *slog.Logger
}

// New connects to nothing yet. The caller closes it.
func New(ctx context.Context, c Config) (*Tracer, error) {
	if c.Endpoint == "" || c.Logger == nil || c.Sample < 0 || c.Sample > 1 {
		return nil, errors.New("trace: incomplete configuration")
	}
	if c.Every <= 0 {
		c.Every = 5 * time.Second
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithHeaders(c.Headers),
		otlptracehttp.WithTimeout(10*time.Second), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		return nil, err
	}
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "sallyport"), attribute.String("service.version", c.Version))),
		sdk.WithBatcher(&logged{exporter, c.Logger}, sdk.WithBatchTimeout(c.Every)),
	)
	return &Tracer{provider, provider.Tracer("sallyport"), c.Logger}, nil
}

// closeFor is how long a collector that does not answer may delay the end: other writes
// matter more then.
const closeFor = 2 * time.Second

// Close delivers the finished spans. It does not fail: losses are in the log.
func (t *Tracer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeFor)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces could not be delivered", "error", err)
	}
	return nil
}

// logged keeps the library from reporting failures to a place of its own.
type logged struct {
	sdk.SpanExporter
	logger *slog.Logger
}

func (l *logged) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil {
		l.logger.Warn("traces could not be delivered", "spans", len(spans), "error", err)
	}
	return nil
}

var contexts propagation.TraceContext

// Request is the trace of one request.
type Request struct {
	tracer   api.Tracer
	ctx      context.Context
	span     api.Span
	upstream api.Span
}

// Begin begins the span of a request that arrived at a time. trusted says that its
// traceparent is to be continued.
func (t *Tracer) Begin(r *http.Request, trusted bool, arrived time.Time) *Request {
	if t == nil {
		return nil
	}
	ctx := context.Background()
	if trusted {
		ctx = contexts.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	q := &Request{tracer: t.tracer}
	// The name of the span is known once the request was judged.
	q.ctx, q.span = t.tracer.Start(ctx, "request", api.WithTimestamp(arrived), api.WithSpanKind(api.SpanKindServer))
	return q
}

// Judged records the time of the verdict, and the verdict.
func (q *Request) Judged(arrived, decided time.Time, action string) {
	if q == nil || !q.span.IsRecording() {
		return
	}
	_, s := q.tracer.Start(q.ctx, "judge", api.WithTimestamp(arrived), api.WithAttributes(attribute.String("sallyport.action", action)))
	s.End(api.WithTimestamp(decided))
}

// Forwarding begins the upstream's turn, and puts its context into h, the header that it
// will get.
func (q *Request) Forwarding(h http.Header) {
	if q == nil {
		return
	}
	var ctx context.Context
	ctx, q.upstream = q.tracer.Start(q.ctx, "upstream", api.WithSpanKind(api.SpanKindClient))
	h.Del("Tracestate") // Inject sets it only if there is one
	contexts.Inject(ctx, propagation.HeaderCarrier(h))
}

// End ends the trace of a request that is over.
func (q *Request) End(e *observe.Event) {
	if q == nil || !q.span.IsRecording() {
		return
	}
	method := e.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default: // the client's words; the name of a span is not for them
		method = "HTTP"
	}
	q.span.SetName(method)
	if e.Route != "" {
		q.span.SetName(method + " " + e.Route)
	}
	status := attribute.Int("http.response.status_code", e.Status)
	q.span.SetAttributes(attribute.String("http.request.method", method), status,
		attribute.String("sallyport.route", e.Route), attribute.String("sallyport.action", e.Action))
	if e.Incident != "" {
		q.span.SetAttributes(attribute.String("sallyport.incident", e.Incident))
	}
	if q.upstream != nil {
		q.upstream.SetAttributes(attribute.String("sallyport.route", e.Route), status)
		end(q.upstream, e.Status)
	}
	end(q.span, e.Status)
}

// end marks a failure of ours or the tool's. What a client did wrong is none
// (OpenTelemetry semantic conventions for HTTP server spans).
func end(s api.Span, status int) {
	if status >= 500 {
		s.SetStatus(codes.Error, http.StatusText(status))
	}
	s.End()
}
