package proxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/audit"
	"sallyport/proxy/jsonrpc"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
)

// JSON-RPC error codes of our own, from the range that the standard leaves to servers.
const (
	rpcBlocked = -32001 // data.error "blocked"
	rpcStepUp  = -32002 // data.error "insufficient_user_authentication", data.max_age
	rpcFailed  = -32003 // data.error "unavailable"
	rpcTooMany = -32005 // data.error "too_many_calls"; "limit exceeded" in EIP-1474
)

// rpcLimits hold for HTTP bodies and for WebSocket messages alike.
func (o *RouteOptions) rpcLimits() jsonrpc.Limits {
	return jsonrpc.Limits{MaxBytes: o.RPCBytes, MaxCalls: o.RPCCalls, Version1: o.RPC1}
}

// readRPC finds out which methods a request to a JSON-RPC route calls. The body is
// bounded, read once, and forwarded byte for byte. It reads requests of verified sessions
// only; all others are asked for proof first, for every method. A request without a
// message that can be judged is refused, unless the route has rpc_uri.
func (g *Gate) readRPC(r *http.Request, v *Verdict) error {
	o := v.snapshot.Options[v.Route.Name]
	if !o.RPC || v.Session.Level() != authn.Verified {
		return nil
	}
	form, err := jsonrpc.FormOf(r, v.Target.RawQuery)
	switch {
	case o.RPCURI && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody:
		form = jsonrpc.Message // for every HTTP method, because a body is judged
	case o.RPCURI && form == jsonrpc.Unjudged && v.byLink(r, o.RPCPaths):
		return &jsonrpc.Error{Code: jsonrpc.ByLink, Detail: "A link called this method, so it was refused to protect your account: open the start page of this address and call it from there, or with a program."}
	case o.RPCURI:
	case err != nil:
		return err
	}
	if form == jsonrpc.Message {
		if err := g.readMessage(r, v, o.rpcLimits()); err != nil {
			return err
		}
	}
	if name := v.named(o.RPCPaths); name != "" && !slices.Contains(v.rpc.Methods, name) {
		v.rpc.Methods = append(v.rpc.Methods, name)
	}
	return nil
}

// readMessage reads the body of a request, and puts it back.
func (g *Gate) readMessage(r *http.Request, v *Verdict, limits jsonrpc.Limits) error {
	if err := jsonrpc.CheckHeader(r.Header); err != nil {
		return err
	}
	within := limits // limits without Room, which is for reading
	if s := v.streams; s != nil {
		if b, ok := r.Body.(interface {
			Within(time.Duration) func() bool
		}); ok {
			stop := b.Within(s.MessageTime())
			defer func() {
				if !stop() {
					g.exceeded("message_time", "limits.message_time", v)
				}
			}()
		}
		person := v.Session.Person.Subject.Key()
		limits.Room = func(n int) bool {
			if !s.Inspected().Take(v.Session.ID, person, n) {
				return false
			}
			v.held += n
			return true
		}
	}
	body, err := jsonrpc.Read(r.Body, r.ContentLength, limits)
	if bad := (*jsonrpc.Error)(nil); err != nil && !errors.As(err, &bad) {
		return fmt.Errorf("%w: %w", errBody, err)
	} else if err != nil {
		return err
	}
	v.rpc, err = jsonrpc.Parse(body, within)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	return nil
}

// errBody: the client did not send the body that it announced, or not in time.
var errBody = errors.New("the body did not come")

// release returns to the budget what the body of this request took from it.
func (v *Verdict) release() {
	if v.streams != nil && v.held > 0 {
		v.streams.Inspected().Give(v.Session.ID, v.Session.Person.Subject.Key(), v.held)
		v.held = 0
	}
}

// byLink reports whether a call without a message may come from another page: a person
// who follows its link would call the method as themselves. Only the node's own pages and
// clients that are no browsers call by GET. An address that a person types or has
// bookmarked looks like a link in a mail program or a chat (Sec-Fetch-Site: none), so it
// may lead to an address that calls nothing, such as the node's list of its methods, and
// no further.
//
// For a browser without Fetch metadata, Referer says where the link was. A page can leave
// it out. Without one, a request that accepts pages is refused, and any other is taken
// for a program's.
func (v *Verdict) byLink(r *http.Request, known []string) bool {
	if v.Target.RawQuery == "" && v.named(known) == "" || allowedOrigin(r, v) != "" {
		return false
	}
	switch header(r, "Sec-Fetch-Site") {
	case "same-origin":
		return false
	case "none":
		return portal.KindOf(r) >= portal.Ahead // an extension's fetch looks the same
	case "":
		return (len(r.Header["Referer"]) > 0 || portal.KindOf(r) >= portal.Ahead) && portal.Linked(r, v.Target.Scheme+"://"+v.Target.Host)
	}
	return true
}

// named is the method that the path itself may call, or "": the route's own path, and
// what rpc_paths lists, call none.
func (v *Verdict) named(known []string) string {
	if slices.Contains(known, v.Target.Path) {
		return ""
	}
	return jsonrpc.Named(strings.TrimPrefix(v.Target.Path, v.Route.Prefix))
}

// badRPC refuses a message that could be read in two ways, and a request without one.
func (g *Gate) badRPC(w http.ResponseWriter, r *http.Request, v *Verdict, bad *jsonrpc.Error) {
	switch bad.Code {
	case jsonrpc.TooLarge:
		bad.Detail = g.messageTooLarge(v)
	case jsonrpc.NoRoom:
		g.exceeded("inspected_bytes", "limits.inspected_bytes_per_session, or limits.inspected_bytes of all", v)
	default:
		g.messageForm(v, bad)
	}
	event, detail := "bad_request", map[string]string{"reason": string(bad.Code)}
	if linked(r, v) || bad.Code == jsonrpc.ByLink && header(r, "Sec-Fetch-Site") != "none" { // the other page chose the address, not the person
		event, detail = "cross_site_refused", sentBy(r, foreignLink+string(bad.Code))
	}
	rec := g.record(r, v, event, portal.NewIncident())
	rec.Action, rec.Detail = policy.Block.String(), detail
	incident, ok := g.recordRefusal(w, r, v, rec)
	if !ok {
		return
	}
	if bad.Code == jsonrpc.HTTPMethod {
		// Also what a person sees who signs in for their wallet: the session is there.
		w.Header().Set("Allow", "POST, OPTIONS")
		g.refuse(w, r, v, portal.Refusal{Status: bad.Status(), Code: string(bad.Code), Title: "Only programs are served here", Incident: incident,
			Text: []string{"This address takes JSON-RPC calls, by POST or in a WebSocket. You are signed in: your program can call it."}})
		return
	}
	readable(w, r, v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(bad.Status())
	_, _ = w.Write(jsonrpc.ErrorResponse(jsonrpc.Request{}, bad.RPCCode(), bad.Detail, map[string]any{"error": string(bad.Code), "incident": incident}))
}

// messageTooLarge counts that a call was too large, and returns the text for its client,
// who is verified.
func (g *Gate) messageTooLarge(v *Verdict) string {
	o := v.snapshot.Options[v.Route.Name]
	key := cmp.Or(o.RPCBytesKey, "limits.message_bytes")
	g.exceeded("message_bytes", key, v)
	return fmt.Sprintf("The message is larger than %d bytes, which is %s.", o.rpcLimits().MaxBytes, key)
}

// messageForm counts that a message has too many parts; bad says which.
func (g *Gate) messageForm(v *Verdict, bad *jsonrpc.Error) {
	switch bad.Code {
	case jsonrpc.TooManyCalls:
		const key = "limits.batch_calls"
		bad.Detail += ", which is " + key
		g.exceeded("batch_calls", key, v)
	case jsonrpc.TooDeep, jsonrpc.MethodTooLong, jsonrpc.IDTooLong:
		g.exceeded("message_form", "fixed: "+bad.Detail, v)
	}
}

// exceeded counts and logs that a request or a message was over a limit. The label of the
// metric is the key without its section.
func (g *Gate) exceeded(label, key string, v *Verdict) {
	route := ""
	if v.Route != nil {
		route = v.Route.Name
	}
	g.cfg.Observe.Exceed(g.cfg.Logger, label, route, func() []slog.Attr {
		attrs := []slog.Attr{slog.String("limit", key), slog.String("user", string(v.Session.Person.Email)), slog.String("session", v.Session.ID)}
		if route != "" {
			attrs = append(attrs, slog.String("route", route))
		}
		return attrs
	})
}

// oversize answers one message that is too large for the WebSocket it came on.
type oversize struct {
	jsonrpc.Oversize
	reply func(jsonrpc.Request) []byte
	limit jsonrpc.Limits
}

// Reply implements [streams.Oversize].
func (o *oversize) Reply() []byte { return o.reply(o.Request(o.limit)) }

// tooLargeInside returns the handler of messages that are longer than a WebSocket's
// limit. They are not judged, and nothing of them is forwarded.
func (g *Gate) tooLargeInside(r *http.Request, j *admission) func() streams.Oversize {
	return func() streams.Oversize {
		now := g.current.Load()
		options := now.Options[j.route.Name]
		return &oversize{limit: options.rpcLimits(), reply: func(req jsonrpc.Request) []byte {
			v := inside(now, j, req)
			answer, _ := g.answerMessage(r, v, jsonrpc.InvalidRequest, g.messageTooLarge(v), map[string]any{"error": string(jsonrpc.TooLarge)})
			return answer
		}}
	}
}

// inside is a verdict on a message inside a stream that is still to be judged. It blocks.
func inside(now *Snapshot, j *admission, req jsonrpc.Request) *Verdict {
	v := &Verdict{snapshot: now, Route: j.route, Session: j.session, Client: j.facts.IP.Addr, rpc: req}
	v.Target.Host, v.Target.Path = j.facts.Request.Host, j.facts.Request.Path
	return v
}

// inspect judges every message that a client sends inside a WebSocket to a JSON-RPC
// route. It uses the proof that the WebSocket was opened with: after a step-up, clients
// connect again.
func (g *Gate) inspect(r *http.Request, j *admission) func([]byte) ([]byte, bool) {
	return func(message []byte) ([]byte, bool) {
		now := g.current.Load()
		options := now.Options[j.route.Name]
		req, err := jsonrpc.Parse(message, options.rpcLimits())
		v := inside(now, j, req)
		var bad *jsonrpc.Error
		if errors.As(err, &bad) {
			if bad.Code == jsonrpc.TooLarge { // a reload made the limit smaller since the handshake
				bad.Detail = g.messageTooLarge(v)
			} else {
				g.messageForm(v, bad)
			}
			return g.answerMessage(r, v, bad.RPCCode(), bad.Detail, map[string]any{"error": string(bad.Code)})
		}
		v.Facts = g.factsNow(j, v.snapshot, req.Methods, g.cfg.Now())
		v.decide(policy.Partial{}, policy.Partial{})
		switch v.Decision.Action {
		case policy.Allow:
			switch err := g.recordAllow(r, v); {
			case errors.Is(err, audit.ErrManyCalls):
				g.exceeded("changes_per_minute", "limits.changes_per_minute", v)
				return jsonrpc.ErrorResponse(req, rpcTooMany, "Too many different calls. Wait a minute, then try again.", map[string]any{"error": "too_many_calls"}), false
			case err != nil:
				g.cfg.Logger.Error("a message could not be recorded", "error", err)
				return jsonrpc.ErrorResponse(req, rpcFailed, "Not available right now.", map[string]any{"error": "unavailable"}), false
			}
			return nil, true
		case policy.StepUp:
			return g.answerMessage(r, v, rpcStepUp, "A fresh passkey verification is required. Verify, then connect again.",
				map[string]any{"error": "insufficient_user_authentication", "max_age": int(v.Decision.MaxAge.Seconds())})
		default:
			return g.answerMessage(r, v, rpcBlocked, "Not allowed.", map[string]any{"error": "blocked"})
		}
	}
}

// answerMessage records that a message was not passed on, and tells the client.
func (g *Gate) answerMessage(r *http.Request, v *Verdict, code int, text string, data map[string]any) ([]byte, bool) {
	incident, err := g.appendRefusal(context.WithoutCancel(r.Context()), g.record(r, v, "message", portal.NewIncident()))
	if err != nil {
		g.cfg.Logger.Error("a message could not be recorded", "error", err)
	}
	data["incident"] = incident
	return jsonrpc.ErrorResponse(v.rpc, code, text, data), false
}
