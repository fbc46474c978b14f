package jsonrpc_test

import (
	"errors"
	"testing"

	"sallyport/proxy/jsonrpc"
	"sallyport/proxy/proxytest"
)

// TestVersion1: what bitcoind's clients send passes on a route that says so, and on no other;
// the rest is as strict.
func TestVersion1(t *testing.T) {
	for message, want := range map[string]struct{ two, one jsonrpc.Code }{
		`{"method":"getblockcount","params":[],"id":1}`:                                              {jsonrpc.Version, ""},
		`{"jsonrpc":"1.0","id":"curltest","method":"getblockcount"}`:                                 {jsonrpc.Version, ""},
		`{"jsonrpc":"2.0","id":"curltest","method":"getblockcount"}`:                                 {"", ""},
		`{"method":"getblockcount","id":{"method":"stop"}}`:                                          {jsonrpc.ID, ""},
		`{"method":"getblockcount","id":[1,true]}`:                                                   {jsonrpc.ID, ""},
		`{"method":"getblockcount","id":true}`:                                                       {jsonrpc.ID, ""},
		`[{"method":"getblockcount","id":1},{"method":"stop","id":2}]`:                               {jsonrpc.Version, ""},
		`{"jsonrpc":"3.0","method":"a","id":1}`:                                                      {jsonrpc.Version, jsonrpc.Version},
		`{"jsonrpc":1.0,"method":"a","id":1}`:                                                        {jsonrpc.Version, jsonrpc.Version},
		`{"method":"a","method":"b","id":1}`:                                                         {jsonrpc.Duplicate, jsonrpc.Duplicate},
		`{"method":"a","Method":"b","id":1}`:                                                         {jsonrpc.Member, jsonrpc.Member},
		`{"method":"a","id":nul}`:                                                                    {jsonrpc.Syntax, jsonrpc.Syntax},
		`{"id":1}`:                                                                                   {jsonrpc.Version, jsonrpc.Method},
		`{"method":"a","id":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}`: {jsonrpc.ID, jsonrpc.TooDeep},
	} {
		for one, code := range map[bool]jsonrpc.Code{false: want.two, true: want.one} {
			_, err := jsonrpc.Parse([]byte(message), jsonrpc.Limits{MaxBytes: proxytest.MessageBytes, MaxCalls: proxytest.BatchCalls, Version1: one})
			var got jsonrpc.Code
			if bad := (*jsonrpc.Error)(nil); errors.As(err, &bad) {
				got = bad.Code
			}
			if got != code {
				t.Errorf("version 1 %v: %s: %v, want %q", one, message, err, code)
			}
		}
	}
}
