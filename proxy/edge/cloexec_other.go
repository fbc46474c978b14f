//go:build !unix

package edge

// closeOnExec is for systems that hand sockets down; here nobody does.
func closeOnExec(int) {}
