// Package app is the product, put together from a configuration: New builds it, Serve
// answers requests until its context ends, Reload brings a changed configuration into
// force, Close ends what New began.
//
// It has no logic of its own about people, policies or requests. Each part is a type that
// is given what it needs: identity (who people are), traffic (what goes along with
// requests), front (pages and gate), certificates, and reloader (what changes while
// serving). What runs beside the requests stands in one list, App.background.
//
// New fails with everything closed that it had opened. It listens on nothing; Listen
// opens the sockets, so that a port that is taken is told before anything is served.
package app
