package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"sallyport/proxy/proxytest"
)

// usual are the limits of an empty configuration.
var usual = Limits{MaxBytes: proxytest.MessageBytes, MaxCalls: proxytest.BatchCalls}

func TestParseAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		methods    []string
		ids        []string // "" is a notification
		batch      bool
	}{
		{"a call", `{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":1}`, []string{"eth_blockNumber"}, []string{"1"}, false},
		{"members in any order", `{"id":"a","params":{},"method":"m","jsonrpc":"2.0"}`, []string{"m"}, []string{`"a"`}, false},
		{"white space", " \t\r\n{ \"jsonrpc\" : \"2.0\" , \"method\" : \"m\" , \"id\" : null } \n", []string{"m"}, []string{"null"}, false},
		{"a notification", `{"jsonrpc":"2.0","method":"m"}`, []string{"m"}, []string{""}, false},
		{"params null", `{"jsonrpc":"2.0","method":"m","params":null,"id":-1.5e+3}`, []string{"m"}, []string{"-1.5e+3"}, false},
		{"an escaped id is written back as it came", `{"jsonrpc":"2.0","method":"m","id":"\u0061"}`, []string{"m"}, []string{`"\u0061"`}, false},
		{"params may hold anything", `{"jsonrpc":"2.0","method":"m","params":[{"method":"x","Method":1,"method":null,"\u006dethod":[[],{}]},"é\ud800\n",true,false,null,0.1,{"a":{"b":[1,2]},"c":[]}],"id":1}`, []string{"m"}, []string{"1"}, false},
		{"a batch, each method once", `[{"jsonrpc":"2.0","method":"b","id":1},{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b","id":2}]`, []string{"b", "a"}, []string{"1", "", "2"}, true},
		{"a batch of one", ` [ {"jsonrpc":"2.0","method":"b","id":1} ] `, []string{"b"}, []string{"1"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := []byte(tc.body)
			req, err := Parse(body, usual)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, c := range req.Calls {
				ids = append(ids, string(c.ID))
				if !slices.Contains(req.Methods, c.Method) {
					t.Errorf("method %q of a call is not among %q", c.Method, req.Methods)
				}
			}
			if !slices.Equal(req.Methods, tc.methods) || !slices.Equal(ids, tc.ids) || req.Batch != tc.batch {
				t.Errorf("methods %q, ids %q, batch %v", req.Methods, ids, req.Batch)
			}
			if string(body) != tc.body {
				t.Error("Parse changed the message")
			}
		})
	}
}

// call is a call that is fine but for what is put in.
func call(members string) string { return `{"jsonrpc":"2.0",` + members + `}` }

func TestParseRefuses(t *testing.T) {
	ok := call(`"method":"m","id":1`)
	for _, tc := range []struct {
		name, body string
		code       Code
	}{
		{"nothing", "", Syntax},
		{"white space only", " \n", Syntax},
		{"byte order mark", "\ufeff" + ok, Syntax},
		{"UTF-16", "{\x00}\x00", Syntax},
		{"a scalar", `"eth_call"`, NotACall},
		{"a word", `null`, NotACall},
		{"trailing data", ok + "x", Syntax},
		{"two messages", ok + ok, Syntax},
		{"two lines of messages", ok + "\n" + ok, Syntax},
		{"trailing NUL", ok + "\x00", Syntax},
		{"line comment", "// hi\n" + ok, Syntax},
		{"block comment", `{/* */"jsonrpc":"2.0","method":"m"}`, Syntax},
		{"hash comment in params", call(`"method":"m","params":[#` + "\n" + `]`), Syntax},
		{"NaN", call(`"method":"m","params":[NaN]`), Syntax},
		{"Infinity", call(`"method":"m","params":[-Infinity]`), Syntax},
		{"hexadecimal", call(`"method":"m","params":[0x1]`), Syntax},
		{"leading zero", call(`"method":"m","params":[01]`), Syntax},
		{"plus sign", call(`"method":"m","params":[+1]`), Syntax},
		{"bare fraction", call(`"method":"m","params":[1.]`), Syntax},
		{"bare exponent", call(`"method":"m","params":[1e]`), Syntax},
		{"single quotes", `{'jsonrpc':'2.0','method':'m'}`, Syntax},
		{"unquoted key", `{jsonrpc:"2.0",method:"m"}`, Syntax},
		{"trailing comma in a call", call(`"method":"m",`), Syntax},
		{"trailing comma in params", call(`"method":"m","params":[1,]`), Syntax},
		{"trailing comma in an object of params", call(`"method":"m","params":{"a":1,}`), Syntax},
		{"missing comma", `{"jsonrpc":"2.0" "method":"m"}`, Syntax},
		{"leading comma", `{,"jsonrpc":"2.0","method":"m"}`, Syntax},
		{"mismatched brackets", call(`"method":"m","params":[}`), Syntax},
		{"mismatched brackets, deeper", call(`"method":"m","params":[{"a":[1}]]`), Syntax},
		{"cut off", ok[:len(ok)-1], Syntax},
		{"cut off in a string", `{"jsonrpc":"2`, Syntax},
		{"cut off in an escape", `{"jsonrpc":"2.0","method":"m","params":["\u00`, Syntax},
		{"a bad escape", call(`"method":"m","params":["\x41"]`), Syntax},
		{"a raw line feed in a string", call("\"method\":\"m\",\"params\":[\"\n\"]"), Syntax},
		{"a raw NUL in a string", call("\"method\":\"m\",\"params\":[\"\x00\"]"), Syntax},
		{"vertical tab as space", "\v" + ok, Syntax},
		{"no-break space as space", "\u00a0" + ok, Syntax},
		{"a bad word", call(`"method":"m","params":[nul]`), Syntax},

		{"invalid UTF-8 in params", call("\"method\":\"m\",\"params\":[\"\xff\"]"), Encoding},
		{"overlong UTF-8", call("\"method\":\"m\",\"params\":[\"\xc0\xaf\"]"), Encoding},
		{"a surrogate in UTF-8", call("\"method\":\"m\",\"params\":[\"\xed\xa0\x80\"]"), Encoding},

		{"the method twice", call(`"method":"a","method":"b"`), Duplicate},
		{"the method twice, alike", call(`"method":"a","method":"a"`), Duplicate},
		{"the version twice", call(`"method":"a","jsonrpc":"2.0"`), Duplicate},
		{"the id twice", call(`"method":"a","id":1,"id":2`), Duplicate},
		{"params twice", call(`"method":"a","params":[],"params":{}`), Duplicate},
		{"another case beside it", call(`"method":"a","Method":"b"`), Member},
		{"another case alone", call(`"METHOD":"a"`), Member},
		{"long s", call("\"method\":\"a\",\"param\u017f\":[]"), Member},
		{"an escaped key beside it", call(`"method":"a","\u006dethod":"b"`), Member},
		{"an escaped key alone", call(`"\u006dethod":"b"`), Member},
		{"a key with a NUL", call(`"method":"a","method\u0000":"b"`), Member},
		{"a key with a space", call(`"method":"a","method ":"b"`), Member},
		{"an empty key", call(`"method":"a","":"b"`), Member},
		{"a member of no standard", call(`"method":"a","extensions":{}`), Member},

		{"no version", `{"method":"m","id":1}`, Version},
		{"another version", `{"jsonrpc":"1.0","method":"m"}`, Version},
		{"a number as version", `{"jsonrpc":2.0,"method":"m"}`, Version},
		{"an escaped version", `{"jsonrpc":"2\u002e0","method":"m"}`, Version},
		{"an empty object", `{}`, Version},

		{"no method", call(`"id":1`), Method},
		{"a number as method", call(`"method":1`), Method},
		{"null as method", call(`"method":null`), Method},
		{"a list of methods", call(`"method":["a","b"]`), Method},
		{"an empty method", call(`"method":""`), Method},
		{"a method with a trailing space", call(`"method":"eth_call "`), Method},
		{"a method with an escaped NUL", call(`"method":"eth_call\u0000x"`), Method},
		{"a method with an escape", call(`"method":"eth_\u0063all"`), Method},
		{"a method with a control byte", call("\"method\":\"eth\x7f\""), Method},
		{"a method outside ASCII", call(`"method":"eth_саll"`), Method},
		{"a long method", call(`"method":"` + strings.Repeat("m", 129) + `"`), MethodTooLong},

		{"a string as params", call(`"method":"m","params":"x"`), Params},
		{"a number as params", call(`"method":"m","params":1`), Params},
		{"an object as id", call(`"method":"m","id":{}`), ID},
		{"a list as id", call(`"method":"m","id":[1]`), ID},
		{"true as id", call(`"method":"m","id":true`), ID},
		{"a long id", call(`"method":"m","id":"` + strings.Repeat("1", 300) + `"`), IDTooLong},

		{"a result", `{"jsonrpc":"2.0","result":1,"id":1}`, Response},
		{"an error", `{"jsonrpc":"2.0","error":{"code":1,"message":""},"id":1}`, Response},
		{"both a call and an answer", call(`"method":"m","result":1`), Response},

		{"an empty batch", `[]`, EmptyBatch},
		{"an empty batch with space", `[ ]`, EmptyBatch},
		{"a batch of scalars", `[1,2]`, NotACall},
		{"a batch in a batch", `[[` + ok + `]]`, NotACall},
		{"a batch with one bad call", `[` + ok + `,{}]`, Version},
		{"a batch with a hole", `[` + ok + `,,` + ok + `]`, Syntax},
		{"a batch with a trailing comma", `[` + ok + `,]`, Syntax},
		{"a batch that does not end", `[` + ok, Syntax},
		{"a batch without commas", `[` + ok + ok + `]`, Syntax},
		{"a batch of answers", `[{"jsonrpc":"2.0","result":1,"id":1}]`, Response},
		{"a long batch", `[` + strings.Repeat(ok+",", 100) + ok + `]`, TooManyCalls},
		{"deep params", call(`"method":"m","params":` + strings.Repeat("[", 33) + strings.Repeat("]", 33)), TooDeep},
		{"very deep params", call(`"method":"m","params":` + strings.Repeat(`{"a":`, 100_000)), TooDeep},
		{"a long message", ok + strings.Repeat(" ", 1<<20), TooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := Parse([]byte(tc.body), usual)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("accepted: %+v", req)
			}
			if e.Code != tc.code {
				t.Errorf("refused with %q, want %q", err, tc.code)
			}
			if req.Methods != nil || req.Calls != nil {
				t.Error("a refused message yields calls")
			}
			if e.Offset < 0 || e.Offset > len(tc.body) || e.Status() < 400 || e.RPCCode() >= 0 {
				t.Errorf("offset %d, status %d, code %d", e.Offset, e.Status(), e.RPCCode())
			}
		})
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(call(`"method":"m","params":` + strings.Repeat("[", n) + strings.Repeat("]", n)))
	}
	for depth, ok := range map[int]bool{32: true, 33: false} {
		if _, err := Parse(nested(depth), usual); (err == nil) != ok {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
	body := []byte(call(`"method":"m"`))
	if _, err := Parse(body, Limits{MaxBytes: len(body)}); err != nil {
		t.Error(err)
	}
	if _, err := Parse(body, Limits{MaxBytes: len(body) - 1}); err == nil {
		t.Error("a message longer than the limit was accepted")
	}
}

// TestZeroLimitsRefuseEverything: a limit that a caller forgot admits no message and no batch.
func TestZeroLimitsRefuseEverything(t *testing.T) {
	one := call(`"method":"m"`)
	for _, tc := range []struct {
		body   string
		limits Limits
		code   Code
	}{
		{one, Limits{}, TooLarge},
		{one, Limits{MaxCalls: usual.MaxCalls}, TooLarge},
		{"[" + one + "]", Limits{MaxBytes: usual.MaxBytes}, TooManyCalls},
	} {
		var bad *Error
		if _, err := Parse([]byte(tc.body), tc.limits); !errors.As(err, &bad) || bad.Code != tc.code {
			t.Errorf("%s within %+v: %v, want %s", tc.body, tc.limits, err, tc.code)
		}
	}
	for _, size := range []int64{-1, int64(len(one))} {
		var bad *Error
		if _, err := Read(strings.NewReader(one), size, Limits{}); !errors.As(err, &bad) || bad.Code != TooLarge {
			t.Errorf("a body announced as %d: %v", size, err)
		}
	}
}

// A batch may name as many methods as it has calls; finding each once must not take
// quadratic time, nor lose one.
func TestManyMethods(t *testing.T) {
	const calls = 500
	var b strings.Builder
	var want []string
	for i := range calls {
		fmt.Fprintf(&b, `,{"jsonrpc":"2.0","method":"m%d","id":%d}`, i%200, i)
		if i < 200 {
			want = append(want, fmt.Sprintf("m%d", i))
		}
	}
	req, err := Parse([]byte("["+b.String()[1:]+"]"), Limits{MaxBytes: usual.MaxBytes, MaxCalls: calls})
	if err != nil || !slices.Equal(req.Methods, want) || len(req.Calls) != calls {
		t.Errorf("%d methods, %d calls, %v", len(req.Methods), len(req.Calls), err)
	}
}

func TestErrorResponse(t *testing.T) {
	data := map[string]any{"incident": "X1", "max_age": 120}
	const problem = `"error":{"code":-32001,"message":"say \"please\"","data":{"incident":"X1","max_age":120}}}`
	for _, tc := range []struct{ name, body, want string }{
		{"a call", call(`"method":"m","id":"\u0061"`), `{"jsonrpc":"2.0","id":"\u0061",` + problem},
		{"a notification", call(`"method":"m"`), `{"jsonrpc":"2.0","id":null,` + problem},
		{"nothing known", ``, `{"jsonrpc":"2.0","id":null,` + problem},
		{"a batch", `[` + call(`"method":"m","id":1`) + `,` + call(`"method":"m"`) + `,` + call(`"method":"m","id":"b"`) + `]`,
			`[{"jsonrpc":"2.0","id":1,` + problem + `,{"jsonrpc":"2.0","id":"b",` + problem + `]`},
		{"a batch of one", `[` + call(`"method":"m","id":1`) + `]`, `[{"jsonrpc":"2.0","id":1,` + problem + `]`},
		{"a batch of notifications", `[` + call(`"method":"m"`) + `]`, `{"jsonrpc":"2.0","id":null,` + problem},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, _ := Parse([]byte(tc.body), usual)
			got := ErrorResponse(req, -32001, `say "please"`, data)
			if string(got) != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
	if got := ErrorResponse(Request{}, 1, "m", map[string]any{"f": func() {}}); !json.Valid(got) || bytes.Contains(got, []byte("data")) {
		t.Errorf("data that JSON cannot hold: %s", got)
	}
}

func TestRead(t *testing.T) {
	l := Limits{MaxBytes: 100_000}
	for _, n := range []int{0, 1, 511, 512, 513, 70_000, 100_000, 100_001, 300_000} {
		want := bytes.Repeat([]byte("x"), n)
		for _, size := range []int64{-1, 0, 5, int64(n), 1 << 40} {
			for name, r := range map[string]io.Reader{
				"plain": bytes.NewReader(want), "one byte": iotest.OneByteReader(bytes.NewReader(want)), "early end": iotest.DataErrReader(bytes.NewReader(want)),
			} {
				got, err := Read(r, size, l)
				if over := n > l.MaxBytes || size > int64(l.MaxBytes); over {
					var e *Error
					if !errors.As(err, &e) || e.Code != TooLarge || e.Status() != http.StatusRequestEntityTooLarge {
						t.Fatalf("%s, %d bytes announced as %d: %v", name, n, size, err)
					}
				} else if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, %d bytes announced as %d: %d bytes, %v", name, n, size, len(got), err)
				}
			}
		}
	}
	if _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF), -1, l); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken body: %v", err)
	}
}

func TestCheckHeader(t *testing.T) {
	for _, tc := range []struct {
		header http.Header
		ok     bool
	}{
		{nil, true},
		{http.Header{"Content-Type": {"application/json"}}, true},
		{http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, true},
		{http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"Identity"}}, true},
		{http.Header{"Content-Encoding": {"gzip"}}, false},
		{http.Header{"Content-Encoding": {"identity", "br"}}, false},
		{http.Header{"Content-Encoding": {"identity, gzip"}}, false},
		{http.Header{"Content-Type": {"application/json; charset=utf-16"}}, false},
		{http.Header{"Content-Type": {"application/json; charset=utf-7"}}, false},
		{http.Header{"Content-Type": {"application/json", "text/plain"}}, false},
		{http.Header{"Content-Type": {"application/json; ;="}}, false},
		{http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, false},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, false},
	} {
		if err := CheckHeader(tc.header); (err == nil) != tc.ok {
			t.Errorf("%v: %v", tc.header, err)
		}
	}
}
