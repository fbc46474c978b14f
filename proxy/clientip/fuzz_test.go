package clientip_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sallyport/proxy/clientip"
)

// headersOf makes several lines of each forwarding header out of fuzz bytes.
func headersOf(text string) http.Header {
	lines := strings.Split(text, "\n")
	return http.Header{"X-Forwarded-For": lines, "Forwarded": lines, "X-Forwarded-Proto": lines, "X-Real-Ip": lines}
}

// FuzzStranger: header bytes never change the answer for an untrusted peer.
func FuzzStranger(f *testing.F) {
	f.Add("203.0.113.7:1", "1.2.3.4")
	f.Add("[2001:db8::1]:1", "for=1.2.3.4;proto=https\nevil")
	f.Add("[::ffff:10.0.0.1]:1", "10.0.0.1")
	f.Add("@", "1.2.3.4")
	f.Fuzz(func(t *testing.T, peer, text string) {
		for _, h := range []clientip.Header{clientip.XForwardedFor, clientip.Forwarded, clientip.None} {
			r := resolver(t, h, "192.0.2.0/24")
			with, without := request(peer, headersOf(text)), request(peer, nil)
			if r.TrustedPeer(without) {
				return // not a stranger
			}
			agree(t, r, with)
			a, errA := r.Resolve(with)
			b, errB := r.Resolve(without)
			if a != b || (errA == nil) != (errB == nil) || r.Scheme(with) != r.Scheme(without) || r.TrustedPeer(with) {
				t.Fatalf("%q changed the answer for %q from %v, %v to %v, %v", text, peer, b, errB, a, errA)
			}
		}
	})
}

// agree: the three answers are the same one by one and together.
func agree(t *testing.T, r *clientip.Resolver, req *http.Request) {
	t.Helper()
	o := r.Origin(req)
	client, err := r.Resolve(req)
	if o.Client != client || (o.Err == nil) != (err == nil) || err != nil && o.Err.Error() != err.Error() || o.Scheme != r.Scheme(req) || o.Trusted != r.TrustedPeer(req) {
		t.Fatalf("%+v, but %v, %v, %s, %v", o, client, err, r.Scheme(req), r.TrustedPeer(req))
	}
}

// FuzzTrusted: for all that a trusted peer passes on, the answer is a canonical
// address or a typed error, and never an address that is not in the header.
func FuzzTrusted(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "::ffff:1.2.3.4", "[2001:db8::1%eth0]:1", `for="[2001:db8::1]:80"`, "for=_x, for=1.2.3.4",
		"1.2.3.4, 10.0.0.3\n10.0.0.2", `for=a;b="\"`, "0x7f.1", ",", "for=\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, h := range []clientip.Header{clientip.XForwardedFor, clientip.Forwarded} {
			r := resolver(t, h, "10.0.0.0/8")
			req := request(lb, headersOf(text))
			agree(t, r, req)
			addr, err := r.Resolve(req)
			if err != nil {
				var typed *clientip.Error
				if !errors.As(err, &typed) || addr.IsValid() {
					t.Fatalf("%q: %v with error %#v", text, addr, err)
				}
				continue
			}
			if !addr.IsValid() || addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() {
				t.Fatalf("%q: %v is not canonical", text, addr)
			}
			// Stepping over every trusted hop can only end at an untrusted one or the left end.
			if again, perr := netip.ParseAddr(addr.String()); perr != nil || again != addr {
				t.Fatalf("%q: %v does not survive its own spelling", text, addr)
			}
		}
	})
}
