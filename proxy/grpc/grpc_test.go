package grpc

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

func call(method, contentType string, proto int) *http.Request {
	r := httptest.NewRequest(method, "/pkg.Service/Method", nil)
	r.Header.Set("Content-Type", contentType)
	r.ProtoMajor = proto
	return r
}

func TestIsCall(t *testing.T) {
	for _, c := range []struct {
		method, contentType string
		proto               int
		want                bool
	}{
		{"POST", "application/grpc", 2, true},
		{"POST", "application/grpc+proto", 2, true},
		{"POST", "Application/gRPC; x=y", 2, true},
		{"POST", "application/grpc", 1, false},
		{"POST", "application/grpc-web", 1, true},
		{"POST", "application/grpc-web+proto", 2, true},
		{"POST", "application/grpc-web-text", 1, true},
		{"GET", "application/grpc", 2, false},
		{"POST", "application/grpcish", 2, false},
		{"POST", "application/json", 2, false},
		{"POST", "", 2, false},
	} {
		if got := IsCall(call(c.method, c.contentType, c.proto)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRefuse(t *testing.T) {
	const message = "100% sure: \t¡ñ\r\nInjected: 1 – verify"
	for asked, want := range map[string]string{
		"application/grpc+proto": "application/grpc", "application/grpc-web+json": "application/grpc-web", "application/grpc-web-text+proto": "application/grpc-web-text",
	} {
		w := httptest.NewRecorder()
		Refuse(w, call("POST", asked, 2), 403, PermissionDenied, message)
		h := w.Header()
		if w.Code != 403 || h.Get("Content-Type") != want || h.Get("Grpc-Status") != "7" || w.Body.Len() != 0 {
			t.Errorf("%d %v %q", w.Code, h, w.Body)
		}
		got := h.Get("Grpc-Message")
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("%q cannot be in a header", got)
			}
		}
		if back, err := url.PathUnescape(got); back != message {
			t.Errorf("%q %v", back, err)
		}
	}
}

// No status of ours becomes OK.
func TestCodes(t *testing.T) {
	for status := range 1000 {
		if CodeOf(status) == 0 {
			t.Errorf("%d is OK", status)
		}
	}
	for status, want := range map[int]Code{400: 3, 401: 16, 403: 7, 404: 12, 413: 8, 429: 8, 431: 8, 500: 13, 501: 12, 502: 14, 503: 14, 504: 4, 421: 2} {
		if got := CodeOf(status); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"1S": time.Second, "250m": 250 * time.Millisecond, "99999999u": 99999999 * time.Microsecond, "2H": 2 * time.Hour, "3M": 3 * time.Minute,
		"7n": 7, "0n": 0, "99999999H": 1<<63 - 1,
		"": -1, "S": -1, "1": -1, "1s": -1, "-1S": -1, "+1S": -1, "1.5S": -1, "123456789S": -1, " 1S": -1, "1_0S": -1,
	} {
		r := call("POST", "application/grpc", 2)
		r.Header.Set("Grpc-Timeout", v)
		got, ok := Timeout(r)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}
