// Package e2e tests the real binary with a real browser and real OpenID providers.
//
// It is a module of its own so that what only tests need (the browser's protocol, a
// third-party provider) stays out of the product's module graph. Chromium and
// Node.js are needed; without them the tests skip, unless
// SALLYPORT_TEST_REQUIRE=all makes that a failure.
//
// # How a test reaches the product
//
// newStack starts it as a company has it: https://access.corp.test is the sign-in host,
// https://treasury.corp.test a tool, and TLS ends at the product. newStackAt starts it behind
// a front that ends TLS, or over http on localhost, as the demo does. To a browser, the hosts
// of a company are one site; those on localhost are not.
//
// newBrowser is a machine with an address: another one is the attacker's machine, tab a second
// tab of the same one, and from moves it. newClient is a program that plays a browser, for what
// a browser does not do: it leaves out a header, sends a cookie that it stole.
//
// # How an attack is written
//
// A hostile tool is a tool whose pages the test writes; it notes what it is shown:
//
//	evil := newTool(t)
//	s := newStack(t, withTool("evil", evil))
//	evil.page("/", `<script>fetch("`+s.treasury+`/pay", {method: "POST", credentials: "include"})</script>`)
//	b := newBrowser(t, home)
//	b.hostile = true // complaints in its console are to be expected
//	b.enrol(s.ticket(alice.Email), alice.Sub)
//	b.open(s.origin("evil") + "/")
//	...
//	if s.asked("POST", "/pay") { ... }
//
// The end of every test checks that no tool was shown a cookie of the product, and that every
// cookie of the product is for one host only and has the prefix __Host-Http-.
package e2e
