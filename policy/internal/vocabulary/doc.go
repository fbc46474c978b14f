// Package vocabulary knows which values facts can have at all: countries, time zones,
// routes, levels, and what the configured IP sources provide.
//
// A rule that compares a fact with anything else never matches, and without this check a
// typing mistake in an embargo list would show in no other way. [Vocabulary.Compared] and
// [Vocabulary.Provided] are asked when a policy is compiled, [Vocabulary.Check] for the
// values that tests and `policy explain --set` give to facts.
//
// It knows names and values and no types: package policy has the facts themselves.
//
// It fails with a diagnostic that suggests the nearest value. If the source of a value
// is not configured, it cannot judge the value, and accepts it.
package vocabulary
