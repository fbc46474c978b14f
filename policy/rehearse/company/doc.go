// Package company makes up a company's year and lets the production policy engine judge
// every request of it, so that the price of a policy can be seen before people pay it: how often it asks and
// blocks those who belong here, and whom of the others it meets.
//
// The model (all of it in cast.go and day.go; every figure is in [Model]):
//
//   - People work from home (a fixed address for weeks, IPv4 and IPv6), on the phone's
//     network, from cafés, and some days from an office. They work days with breaks, seldom weekends, and go on trips, of
//     which most are announced. Some share a home, some a co-working space, some use a privacy relay, some a VPN all
//     day, some a cloud desktop; some are on call and up at night. Laptops are replaced, cookies are lost.
//   - The IP data is wrong about a few addresses in a hundred, and knows only a part of the VPN exits.
//   - Against them: a laptop farm (many accounts, one home, somebody far away at the keyboard), people behind changing VPN exits,
//     people who simply connect from a third country, one person with several accounts on one computer, an account that
//     is worked in shifts, and thieves of session cookies.
//
// Whoever is asked for the passkey and belongs here gives it. So do the hostile, as far as they can: their accounts and
// passkeys are their own. A thief of a cookie has no passkey.
//
// What it is not: a forecast. It is a model with made-up figures, honest about the kinds of mistakes and not about their
// number in your company. The same seed gives the same year.
package company
