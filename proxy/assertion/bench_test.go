package assertion_test

import (
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/proxy/assertion"
)

func BenchmarkFor(b *testing.B) {
	s := newSigner(b, authntest.NewMemory(), clocktest.At(start))
	sess, d := alice(), allow()
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.For(sess, "treasury", d)
		}
	})
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		c := assertion.ClaimsOf(sess, "treasury", d)
		for b.Loop() {
			s.Sign(c)
		}
	})
}

func TestHitAllocatesNothing(t *testing.T) {
	s := newSigner(t, authntest.NewMemory(), clocktest.At(start))
	sess, d := alice(), allow()
	if _, err := s.For(sess, "treasury", d); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { s.For(sess, "treasury", d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
