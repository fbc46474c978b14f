package jsonrpc

import (
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	one := call(`"method":"eth_getBalance","params":["0x407d73d8a49eeb85d32cf465507dd71d507100c1","latest"],"id":1`)
	for _, bc := range []struct{ name, body string }{
		{"call", one},
		{"batch of 10", "[" + strings.Repeat(one+",", 9) + one + "]"},
		{"128 KiB transaction", call(`"method":"eth_sendRawTransaction","params":["0x` + strings.Repeat("f8", 64<<10) + `"],"id":1`)},
		{"refused", call(`"method":"a","Method":"b"`)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			body := []byte(bc.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				Parse(body, usual)
			}
		})
	}
}

// raceDetector is set in a build with -race.
var raceDetector bool

func TestParseAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector, a sync.Pool drops some of what it is given")
	}
	body := []byte(call(`"method":"eth_getBalance","params":["0x407d73d8a49eeb85d32cf465507dd71d507100c1","latest"],"id":1`))
	if n := testing.AllocsPerRun(100, func() { Parse(body, usual) }); n > 2 {
		t.Errorf("%v allocations for one call, want at most 2", n)
	}
}
