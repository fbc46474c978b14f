// Package edge is everything between the socket and the gate's handler: listeners, TLS,
// certificates, limits, and an orderly end.
//
// Its parts are small and independent; cmd/sallyport puts them together:
//
//   - [Listen], [Inherited] and [Notifier]: sockets of our own or the service manager's,
//     the PROXY protocol, and reporting state to systemd.
//   - [NewTLS], [Certificates], [ClientAuth], [ACME]: certificates from files and from an
//     authority, reloaded while serving; client certificates.
//   - [Server]: HTTP/1.1 and HTTP/2 within limits, and [Server.Drain].
//   - [Shedder]: 503 under overload.
//   - [AddressLimiter], [AccountLimiter]: how often a client or a person may try
//     something.
//   - [Redirect], [HSTS]: redirects from http to https, and Strict-Transport-Security.
//
// It does not judge requests, and knows no sessions, routes or policy. It does not
// replace the gate: a request that it lets through is within limits, and nothing more.
//
// # What a client can hold, and for how long
//
// A connection has Limits.HeaderTimeout for its PROXY header (five seconds), its TLS
// handshake, and each request header. Between requests it has Limits.IdleTimeout. While a
// body is read or an answer written, its client has a budget of Pace.Patience: waiting
// for the client spends it, bytes refill it. So a gigabyte over a slow line may take
// hours, while one byte every twenty seconds is cut off within a minute. Time in which
// the server is slow is not counted. Once a person is let through ([Admit]), each pause
// may be as long as the route says instead. Streams ([Stream], text/event-stream,
// application/grpc, hijacked connections) may be silent in the direction from the client;
// an answer that the client does not read is cut in every case.
//
// # Request smuggling
//
// net/http refuses requests whose framing is ambiguous, with exceptions that RFC 9112
// permits: Transfer-Encoding beside Content-Length (the length is dropped), a bare line
// feed as the end of a line, folded lines, and HTTP/1.0. There is no filter in front of
// it that would parse every header a second time, and differently. Instead, a connection
// ends after each HTTP/1 request whose framing a proxy in front of us could have seen in
// another way: after a chunked body, and after HTTP/1.0. A request smuggled behind it is
// never read. proxy/upstream frames every request anew, so smuggling to upstreams is not
// possible this way.
//
// # How it fails
//
// Before a handshake or a header is complete: by closing the connection. Then with 414,
// 431 or 503 and Retry-After, through Config.Refuse. If a client is too slow, its body
// ends in an error, or its connection is closed; in HTTP/2 the stream is reset. A reload
// that fails changes nothing, is logged, and shows in Status. Every such event is counted
// in Stats.
package edge
