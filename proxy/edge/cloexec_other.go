//go:build !unix

package edge

// closeOnExec is for systems whose service manager passes sockets; this one has none.
func closeOnExec(int) {}

// accepts is never called: no sockets are passed here.
func accepts(int) bool { return false }
