// Package h1 is an HTTP/1.1 client for small requests to one server in clear text.
//
// It exists because of what [http.Transport] costs a proxy: two hand-overs between
// goroutines and copies of all headers for each request. [Transport.RoundTrip] writes the
// request and reads the answer on the goroutine of its caller. proxy/upstream/README.md
// has the measurement. Without this gain the package should be deleted: http.Transport
// does the same.
//
// # What it does
//
//   - It reads answers with [http.ReadResponse]. No parser of HTTP is its own.
//   - It writes the request line, the fields of [Request] in their order, and the body
//     with its length. It refuses to write a part that could end the part before it.
//   - It keeps unused connections, and takes the one used last. Before each use it asks
//     the operating system whether the connection is still silent. A connection with
//     unread bytes is closed, because those bytes would be taken for the answer to the
//     next request.
//   - It sends a request a second time, on a new connection, if a kept connection turns
//     out to be closed: any request if not one byte of it was sent, and one of a safe
//     method (RFC 9110 section 9.2.1) if not one byte of an answer came. http.Transport
//     goes further and repeats what carries an Idempotency-Key.
//
// # What it does not do
//
// It has no TLS, HTTP/2, redirects, cookies, compression or proxies, and sends neither
// chunks nor trailers nor "Expect: 100-continue". It does not switch protocols: a 101 is
// an error. It adds no header but Host and Content-Length, and removes none: hop-by-hop
// headers are the caller's business, in both directions.
//
// # How it fails
//
// With an error and no answer: that of Config.Dial, that of the connection, that of
// http.ReadResponse, or the cause of a context that has ended. The timeouts are errors
// whose Timeout method reports true. A connection on which anything fails is closed and
// never used again.
//
// An upstream that closes the connection in the middle of a request has often said why
// before, with a 413 or 401. That answer counts, not the failed write.
//
// A body that breaks off ends with an error other than [io.EOF]: [ErrIdle] if the server
// was silent for too long, and context.Canceled if the context has ended.
package h1
