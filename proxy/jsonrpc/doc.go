// Package jsonrpc reads which methods a JSON-RPC 2.0 message calls, so that a policy can
// ask for more proof before eth_sendRawTransaction than before eth_blockNumber.
//
// The message itself is forwarded byte for byte, so the server behind parses it again,
// with another parser. [Parse] therefore accepts only what every parser reads alike, and
// refuses the rest instead of repairing it:
//
//   - The body is one JSON text (RFC 8259) in UTF-8 and nothing after it: no byte order
//     mark, comment, NaN, trailing comma, control byte or second value.
//   - It is one call, or a batch of at least one.
//   - A call has the members "jsonrpc", "method", "params" and "id", spelled just so and
//     each at most once. One parser takes the first of two equal keys and another the
//     last; encoding/json takes "Method" for "method", and a parser that compares before
//     it decodes misses "\u006dethod". Members that the standard does not name are
//     refused for the same reason: some server may know one as another name for the
//     method.
//   - "jsonrpc" is "2.0". "method" is printable ASCII without spaces, quotes or
//     backslashes, so that neither trimming, nor Unicode normalisation, nor a C string
//     that ends at a NUL makes another name of it. "id", if there is one, is a string, a
//     number or null; "params" an object, an array or null.
//   - Answers ("result", "error") are not calls, and not mixed with them.
//
// Params are checked to be well-formed and are not looked into: no reading of them
// changes which method is called.
//
// It decides nothing about people, does no I/O except in [Read], and holds nothing
// between calls. It fails by returning an [*Error]; the caller then refuses the whole
// message, a batch included.
//
// [FormOf] refuses requests that bring no message at all, and [Named] tells which method
// a path calls by itself.
//
// # What it does not see
//
// A body that is compressed, or in another charset than UTF-8: [CheckHeader] refuses
// those before they are read. Whether the server treats method names case-sensitively:
// names are reported as they were sent, and a policy that blocks a name on a server that
// does not care about case must say so for all cases.
package jsonrpc
