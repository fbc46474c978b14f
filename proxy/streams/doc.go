// Package streams knows every exchange that is open, whose session it belongs to, and how
// to end it before it ends by itself: when the session is revoked, runs out or is
// judged anew with another result.
//
// # Use
//
//	epoch := registry.Epoch()              // before the request is judged
//	... judge ...
//	s := registry.Open(r.Context(), epoch, streams.Info{Session: id, Route: route, Value: judged})
//	defer s.Close()
//	s.Until(expires, streams.Expired)
//	why, refused := s.Run(func() {
//		forward(s.Writer(w), r.WithContext(s.Context())) // and in OnResponse: streams.Attach(res)
//	})
//	if refused { answer(w, why) }
//
// Open belongs right after the judgement and before anything is sent, so that a request
// that waits for a slow upstream can be cut too. An order given between Epoch and Open is
// not lost: the stream is born cut.
//
// # How a stream ends
//
// An order ([Registry.Cut] and its kin) takes effect on all streams it names before it
// returns: their contexts end, or will in a moment, and nothing that a WebSocket client
// sends goes on. What the client sees depends on the protocol. Nothing is ever put into
// the middle of something: if the upstream has sent half of a frame, message or event, it
// has Config.Grace to send the rest, and then the stream is broken off.
//
//   - WebSocket over HTTP/1.1: a close frame, 1008 and a short reason, at the next frame
//     boundary (RFC 6455 section 7.4.1; a control frame may stand between the
//     fragments of a message). Then the client has Config.Linger to answer it.
//     Everything else passes unchanged, compressed or not: frames are counted, not read.
//   - Server-Sent Events: an event named "sallyport" with the reason, then the
//     end of the body. An EventSource connects again, and is told by the gate.
//   - gRPC: trailers with grpc-status 16 (UNAUTHENTICATED), 7 (PERMISSION_DENIED) when
//     blocked, 14 (UNAVAILABLE) at shutdown; for gRPC-Web the same in a trailer frame of
//     the body. They are set on the http.Response as if the upstream had sent them, so
//     they need a forwarder that copies trailers after the body, as httputil.ReverseProxy
//     does.
//   - Everything else (downloads, other upgraded protocols, bodies with a
//     Content-Encoding): broken off, so that half is not taken for whole.
//   - No answer yet: none is written; [Stream.Run] reports it.
//
// A client that does not read what it is sent is cut off after twice Config.Grace.
//
// # What it does not do
//
// It does not know sessions, policy or the store: it is told. WebSockets over HTTP/2 (RFC
// 8441) are broken off like a download: there is no connection to hijack. Request bodies
// are stopped by the end of the context, at the latest after Config.Grace.
package streams
