// Package behavior compares what a person does now with what was seen before: from how
// many countries and networks they connect, how fast they would have had to travel, who
// else uses their address and their device, when they last took a break, and whether
// their browser's time zone is that of their address.
//
// A [Tracker] keeps what these questions need of each person in memory, one or two
// kilobytes, and answers from there: [Tracker.Assess] asks no store and takes no lock
// that all requests share. [Tracker.Record] remembers a visit once it is judged, and
// [Tracker.Active] that a person was active; both only queue what is to be written.
// [Tracker.Run] loads history, writes, learns of what other processes saw, and forgets.
// Every signal is a pure function of what is remembered and of the time, in a file of its
// own.
//
// # What it is not
//
// It gives no verdict: policies decide what a number means. It knows addresses, not
// people: a remote desktop on the right laptop at the right home looks like that home.
//
// # How it fails
//
// If history is not loaded, or could not be read or written for [Lease], it is unknown,
// and the facts say so (policy.Seen.Known and its like are false), never a
// clean past. Unwritten rows wait in a bounded queue; when that is full the
// oldest rows are merged into younger ones of the same person, place and device, and if
// there is none to merge with, dropped and counted ([Stats]). A crash loses what was
// queued in the last seconds; a clean end of Run loses nothing that the store accepts
// within [Farewell].
//
// The README beside this file has each signal's formula, what it cannot see, false
// alarms, memory and privacy.
package behavior
