package jsonrpc

import (
	"strings"
	"testing"
)

// TestOversize: the id of a call is found wherever it stands, in pieces of any size, and where there is no one id there is none.
func TestOversize(t *testing.T) {
	x := strings.Repeat("x", 3000)
	for message, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"m","params":["` + x + `"]}`:                                         `1`,
		`{"method":"m","params":{"id":5,"a":["` + x + `","id",{"id":6}]},"jsonrpc":"2.0" , "id" : "a\"b,}" } `: `"a\"b,}"`,
		` {"id":-1.5e3,"params":"` + x + `\\","method":"m"}`:                                                   `-1.5e3`,
		`{"id":null,"params":["` + x + `"]}`:                                                                   `null`,
		`{"params":["` + x + `"],"method":"id"}`:                                                               `null`,
		`{"id":1,"params":["` + x + `"],"id":2}`:                                                               `null`,
		`{"ID":1,"\u0069d":2,"params":["` + x + `"]}`:                                                          `null`,
		`{"id":"` + x + `"}`:                `null`,
		`{"id":[1],"params":["` + x + `"]}`: `null`,
		`{"id":1 2,"params":["` + x + `"]}`: `null`,
		`[{"id":1,"params":["` + x + `"]}]`: `null`,
		`{"id":1,"params":["` + x + `"]}{}`: `null`,
		`{"id":1,"params":["` + x:           `null`,
		`"id":1,` + x:                       `null`,
		x:                                   `null`,
	} {
		for _, size := range []int{1, 2, 13, 10_000} {
			var o Oversize
			for rest := []byte(message); len(rest) > 0; {
				n := min(size, len(rest))
				if m, err := o.Write(rest[:n]); m != n || err != nil {
					t.Fatal(m, err)
				}
				clear(rest[:n]) // it is the caller's again
				rest = rest[n:]
			}
			if got := string(ErrorResponse(o.Request(Limits{}), 1, "", nil)); got != `{"jsonrpc":"2.0","id":`+want+`,"error":{"code":1,"message":""}}` {
				t.Errorf("%.60s in pieces of %d: %s, want %s", message, size, got, want)
			}
			if n := cap(o.id) + cap(o.key); n > 1024 {
				t.Errorf("%.60s: %d bytes are held", message, n)
			}
		}
	}
	var o Oversize
	_, _ = o.Write([]byte(`{"id":[1,{"a":2}],"params":[]}`))
	if got := o.Request(Limits{Version1: true}); len(got.Calls) != 1 || string(got.Calls[0].ID) != `[1,{"a":2}]` {
		t.Errorf("an id of JSON-RPC 1.0: %+v", got)
	}
}
