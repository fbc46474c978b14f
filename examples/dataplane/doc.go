// Package dataplane proves proxy/upstream against clients and servers that are
// not net/http: grpc-go, and its interoperability test suite. It is a module of its
// own, so that what it needs stays out of the product's.
//
//	cd examples/dataplane && go test ./...
package dataplane
