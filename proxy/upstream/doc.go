// Package upstream turns a request that has been judged into a request to the tool it is
// for.
//
// It has three parts, used in this order:
//
//   - [Canonicalise] makes a [Target] of a request line: the one host and path that
//     routes are matched on, policy judges, and upstreams receive.
//   - [Table] finds the [Route] of a Target.
//   - [Forwarder] picks an upstream and sends the request on: small ones itself through
//     package h1, all others through httputil.ReverseProxy.
//
// It does not decide anything about people. The caller of [Forwarder.Forward] has already
// judged the request; the package takes identity and client address as typed values and
// never from a header.
//
// # What an upstream receives
//
// Method, canonical path, query and body as the client sent them, and:
//
//   - X-Sallyport-User, -Email and -Groups, and -Assertion if there is one. Values are
//     printable ASCII; every other byte, "%" and "," inside a value, and a space at
//     either end are percent-encoded as UTF-8. Groups are separated by ",", so split
//     first, then decode each.
//   - X-Forwarded-For with the client's address alone, X-Forwarded-Proto and
//     X-Forwarded-Host. Host is the one the client asked for, unless the route sets
//     another.
//   - of a route with StripPrefix, the path without the route's, and X-Forwarded-Prefix
//     (prefix.go).
//   - no header of another spelling or product that says such things (see headers.go),
//     however it arrived, and no method override: the method that was judged is the one
//     in the request line.
//   - none of Sallyport's own cookies; all others byte for byte.
//   - no request trailers. They arrive after everything was judged.
//   - an offer to switch protocols only if the route lists it.
//
// Every request is framed anew. net/http reads one that has both Transfer-Encoding and
// Content-Length as chunked (RFC 9112 section 6.3), and only that length goes on; other
// contradictions never get here.
//
// A client receives the upstream's answer, streamed, less hop-by-hop headers, cookies of
// our names, and Alt-Svc (which would lead around the proxy).
//
// # How it fails
//
// Through Config.OnError, with 400 (the body broke off), 404 (the reserved prefix), 413
// (body), 431 (header), 502 (no connection, or no HTTP answer), 503 (the route has no
// upstream to send to) or 504 (a timeout). Once the answer has begun, it can only be
// aborted: Forward panics with [http.ErrAbortHandler], as httputil.ReverseProxy does, and
// net/http closes the connection or resets the stream. An exchange that is cut before
// that ends the same way, without an answer. A client that has gone is not an error. A
// gRPC call fails with a status of its own instead, at any time (call.go).
package upstream
