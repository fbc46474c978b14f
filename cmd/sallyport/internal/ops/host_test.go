package ops

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A page whose name resolves to the ops port reads nothing of it.
func TestOpsPortRefusesForeignNames(t *testing.T) {
	handler := knownHosts([]string{"sallyport.monitoring.svc"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	loopback, elsewhere := net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 9)
	for _, c := range []struct {
		host string
		on   net.IP
		want int
	}{
		{"127.0.0.1:9090", loopback, 200},
		{"127.1.2.3", loopback, 200},
		{"[::1]:9090", loopback, 200},
		{"localhost:9090", loopback, 200},
		{"LOCALHOST.", loopback, 200},
		{"sallyport.monitoring.svc:9090", loopback, 200},
		{"sallyport.monitoring.svc.", elsewhere, 200},
		{"", loopback, 200},
		{"10.0.0.9:9090", elsewhere, 200},
		{"192.0.2.7:19090", elsewhere, 200}, // a published port of a container
		{"rebound.example.com:9090", loopback, 421},
		{"rebound.example.com", elsewhere, 421},
		{"localhost.example.com", loopback, 421},
		{"x.localhost", loopback, 421},
		{"monitoring.svc", elsewhere, 421},
		{"192.0.2.7:9090", loopback, 421},
		{"127.0.0.1.example.com", loopback, 421},
		{"0177.0.0.1", loopback, 421},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = c.host
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: c.on, Port: 9090}))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("Host %q on %s: %d, want %d", c.host, c.on, w.Code, c.want)
		}
	}
}
