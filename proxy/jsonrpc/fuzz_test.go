package jsonrpc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// reading is one of the ways in which servers find the method in an object.
type reading struct {
	name  string
	fold  bool // keys are compared without regard to case
	first bool // of equal keys the first counts
}

var readings = []reading{{"last", false, false}, {"first", false, true}, {"folded, last", true, false}, {"folded, first", true, true}}

// methodBy reads the method of an object from its tokens.
func methodBy(t *testing.T, object []byte, how reading) string {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	found := ""
	for n := 0; d.More(); {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		k := key.(string)
		if k != "method" && !(how.fold && strings.EqualFold(strings.TrimRight(k, "\x00 "), "method")) {
			continue
		}
		if n++; n > 1 && how.first {
			continue
		}
		if err := json.Unmarshal(value, &found); err != nil {
			t.Fatalf("%s: method %s is no string", how.name, value)
		}
	}
	return found
}

// What Parse accepts, every reading of JSON understands alike.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":1}`,
		`[{"jsonrpc":"2.0","method":"a","id":"x"},{"jsonrpc":"2.0","method":"b","params":{"a":[1,-2.5e3,"\u00e9",null]}}]`,
		`{"jsonrpc":"2.0","method":"a","Method":"b"}`, `{"jsonrpc":"2.0","method":"a","\u006dethod":"b"}`,
		`{"jsonrpc":"2.0","method":"a","method":"b"}`, `[]`, `{}`, `[[]]`, `{"jsonrpc":"2.0","method":"a","params":[[[{}]]]}x`,
		"\ufeff{}", `{"jsonrpc":"2.0","method":"a","params":["\ud800"],"id":null}`, `{"jsonrpc":"2.0","result":1}`,
		`{"jsonrpc":"2.0","method":"a","params":[1e999,0,-0,0.0],"id":1E5} `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		req, err := Parse(body, Limits{MaxBytes: usual.MaxBytes, MaxCalls: 8})
		if !bytes.Equal(before, body) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatal("accepted what is not JSON in UTF-8")
		}
		var objects []json.RawMessage
		if !req.Batch {
			objects = append(objects, body)
		} else if err := json.Unmarshal(body, &objects); err != nil {
			t.Fatal(err)
		}
		if len(objects) != len(req.Calls) || len(objects) == 0 {
			t.Fatalf("%d calls, want %d", len(req.Calls), len(objects))
		}
		var methods []string
		for i, object := range objects {
			call := req.Calls[i]
			var v struct {
				JSONRPC, Method string
				ID              json.RawMessage
			}
			if err := json.Unmarshal(object, &v); err != nil || v.Method != call.Method || v.JSONRPC != "2.0" {
				t.Fatalf("encoding/json reads %q, Parse %q (%v)", v.Method, call.Method, err)
			}
			if !bytes.Equal(v.ID, call.ID) {
				t.Fatalf("encoding/json reads id %q, Parse %q", v.ID, call.ID)
			}
			var m map[string]any
			if err := json.Unmarshal(object, &m); err == nil && m["method"] != call.Method { // an error: a number out of range
				t.Fatalf("a map reads %q, Parse %q", m["method"], call.Method)
			}
			for _, how := range readings {
				if got := methodBy(t, object, how); got != call.Method {
					t.Fatalf("reading %q finds %q, Parse %q", how.name, got, call.Method)
				}
			}
			if !slices.Contains(methods, call.Method) {
				methods = append(methods, call.Method)
			}
		}
		if !slices.Equal(methods, req.Methods) {
			t.Fatalf("methods %q, want %q", req.Methods, methods)
		}
		if !json.Valid(ErrorResponse(req, 1, "no", nil)) {
			t.Fatal("the refusal is not JSON")
		}
	})
}

// The reader agrees with encoding/json about what is a value.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`[1,{"a":[]}]`, `"\u12aB"`, `-0.1e+1`, `[`, `{"a"}`, `[1 2]`, `tru`, `{"a":1,}`, "\"\x7f\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if !utf8.Valid(value) {
			return
		}
		r := new(reader)
		r.reset(value)
		err := r.skip(64)
		if err == nil {
			err = r.end()
		}
		if err != nil && err.Code == TooDeep {
			return
		}
		accepted := err == nil
		if valid := json.Valid(value); accepted != valid {
			t.Fatalf("accepted %v, valid %v (%v)", accepted, valid, err)
		}
	})
}

// What FormOf lets through is a POST with a body, what a server would upgrade, or OPTIONS;
// and never with a query.
func FuzzFormOf(f *testing.F) {
	f.Add("POST", "", "websocket", "Upgrade", "{}")
	f.Add("GET", "tx=1", "websocket", "keep-alive, Upgrade", "")
	f.Add("HEAD", "", "", "", "")
	f.Fuzz(func(t *testing.T, method, query, upgrade, connection, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method = method
		r.Header = http.Header{"Upgrade": {upgrade}, "Connection": {connection}, "Sec-Websocket-Key": {"x"}}
		form, err := FormOf(r, query)
		switch {
		case (err == nil) != (form != Unjudged):
			t.Fatalf("%v and %v", form, err)
		case err == nil && query != "":
			t.Fatal("a query passed")
		case form == Message && (method != "POST" || body == ""), form == Preflight && (method != "OPTIONS" || body != ""),
			form == Handshake && (method != "GET" || body != "" || !strings.EqualFold(strings.TrimSpace(upgrade), "websocket")):
			t.Fatalf("%s with %q is %v", method, body, form)
		}
	})
}
