// Package e2e tests the real binary with real browsers and real OpenID providers.
//
// It is a module of its own so that what only tests need (the browser's protocol, a
// third-party provider) stays out of the product's module graph. Chromium, Firefox
// (firefox-esr), WebKit (webkit2gtk-driver, xvfb) and Node.js are needed; without them
// the tests skip, unless SALLYPORT_TEST_REQUIRE=all makes that a failure.
//
// # How a test reaches the product
//
// newStack starts it as a company has it: https://access.corp.example.com is the sign-in
// host, https://treasury.corp.example.com a tool, and TLS ends at the product. newStackAt
// starts it behind a front that ends TLS, or over http on localhost, as the demo does. To
// a browser, the hosts of a company are one site; those on localhost are not.
//
// newBrowser is a machine with an address: another one is the attacker's machine, tab a
// second tab of the same one, and from moves it. newClient is a program that plays a
// browser, for what a browser does not do: it leaves out a header, sends a cookie that it
// stole.
//
// # Which browser
//
// Most tests are in Chromium, whose protocol can do the most. What engines do differently
// is in all three: inEveryEngine takes a journey in each, with what a browser has in
// common. Firefox is driven through Marionette and WebKit through its WebDriver, see
// wire; a console's complaints fail the test in each. Firefox has a virtual
// authenticator. WebKitGTK has no WebAuthn: it shows what a browser inside an app shows,
// and elsewhere the test plays the ceremony, see play.
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
// The end of every test checks that no tool was shown a cookie of the product, and that
// every cookie of the product is for one host only and has the prefix __Host-Http-.
package e2e
