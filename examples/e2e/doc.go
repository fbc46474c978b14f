// Package e2e tests the real binary with a real browser and real OpenID providers.
//
// It is a module of its own so that what only tests need (the browser's protocol, a
// third-party provider) stays out of the product's module graph. Chromium and
// Node.js are needed; without them the tests skip, unless
// SALLYPORT_TEST_REQUIRE=all makes that a failure.
package e2e
