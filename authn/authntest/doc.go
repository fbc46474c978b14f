// Package authntest holds what tests of sign-in, sessions and passkeys stand on: stores
// in memory, the conformance suite that every store passes, an OpenID provider and a
// software authenticator.
//
// It is fakes and not mocks: each part does what the real thing does, and refuses what
// the real thing refuses, so that a test states what it wants and not which calls it
// expects. [Memory] keeps the whole contract of the store interfaces, watches its own
// invariants, and fails on demand in both of the ways in which a database fails: with the
// write lost, and with the write done and only the answer lost.
//
// It is not for production: nothing here survives the process, and the OpenID provider
// signs in any visitor.
package authntest
