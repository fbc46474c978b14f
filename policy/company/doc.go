// Package company simulates a company for some weeks and lets the production policy engine
// judge every request, so that the price of a policy is known before people pay it: how
// often it asks and blocks people who belong there, and which of the hostile accounts it
// meets.
//
// The model is in population.go and calendar.go, and every figure of it is in [Model],
// which a file can set ([ReadModel]), or a roster and a log ([Learner]):
//
//   - People work from home (a fixed address for weeks, IPv4 and IPv6), on the phone's
//     network, from cafés, and some days from an office. They work days with breaks,
//     seldom weekends, and go on trips; they announce most of the trips. Some share a
//     home, some a co-working space, some use a privacy relay, some a VPN all day, some a
//     cloud desktop; some are on call and up at night. Laptops are replaced, cookies are
//     lost.
//   - The IP data is wrong about a few addresses in a hundred, and knows only a part of
//     the VPN exits.
//   - Hostile: a laptop farm (many accounts in one home, with a remote worker at the
//     keyboard), people behind changing VPN exits, people who connect from a third
//     country without hiding it, one person with several accounts on one computer, an
//     account that several people work in shifts, and thieves of session cookies.
//
// A person who belongs there and is asked for the passkey gives it. So do the hostile
// accounts: their passkeys are their own. A thief of a cookie has no passkey.
//
// What it is not: a forecast. The figures are made up; believe the kinds of mistakes, and
// take their number from your own log. The same seed gives the same run, and [RunSeeds] says
// how far the seeds are apart.
//
// Zero is the dangerous figure: it reassures. A rule for which the model has no request
// that could match has none ([NotExercised]); every other zero comes with what it is out
// of. The first is derived from the facts of the run and from the conditions of the rule
// (parts.go, exercise.go), so that a fact which the model does not know of is covered.
//
// It is a command of the product, not an example: before there is a log to replay, it is the
// only way to see what a policy costs, and a roll-out begins with it.
//
// Of the product it uses package policy and package policy/behavior. Package
// policy/rehearse judges what a real proxy recorded; this package needs no record.
//
// It fails with an error for a configuration that cannot be simulated, and when the
// context ends; there is no partial report.
package company
