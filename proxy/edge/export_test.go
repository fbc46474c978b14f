package edge

// Until is for tests that wait for another goroutine.
var Until = until

// MatchSAN is the comparison of allowed names.
var MatchSAN = matchSAN

// FingerprintFor reads a hello.
var FingerprintFor = fingerprint
