//go:build !unix

package edge

// closeOnExec is for systems that hand sockets down; here nobody does.
func closeOnExec(int) {}

// accepts is never asked: nothing is handed down here.
func accepts(int) bool { return false }
