package behaviortest

import (
	"testing"

	"sallyport/policy/behavior"
)

func TestMemory(t *testing.T) {
	TestStore(t, func(*testing.T) (a, b behavior.Store) {
		m := NewMemory()
		return m, m
	})
}
