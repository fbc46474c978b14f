package edge

// Until is for tests that wait for another goroutine.
var Until = until
