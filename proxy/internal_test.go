package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"slices"
	"testing"

	"sallyport/policy"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// What the forwarder never forwards is what the portal serves.
func TestOnePrefixIsReserved(t *testing.T) {
	if portal.Prefix != upstream.ReservedPrefix {
		t.Errorf("the portal is at %s, and %s is reserved", portal.Prefix, upstream.ReservedPrefix)
	}
}

// A certificate is a fact once it was verified, and not because it was shown.
func TestClientCertificateFacts(t *testing.T) {
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}, DNSNames: []string{"agent.corp.example"}}
	for _, tc := range []struct {
		name string
		tls  *tls.ConnectionState
		want bool
	}{
		{"plain http", nil, false},
		{"none shown", &tls.ConnectionState{}, false},
		{"shown, not verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, false},
		{"verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}, true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = tc.tls
		var f policy.TLS
		tlsFacts(&f, r, edge.Fingerprint{})
		if f.ClientCert != tc.want || slices.Contains(f.ClientSANs, "dns:agent.corp.example") != tc.want {
			t.Errorf("%s: %+v", tc.name, f)
		}
	}
}

// The names of metrics are ours and never the client's.
func TestAttackMetricSeriesAreBounded(t *testing.T) {
	for path, want := range map[string]string{
		"/.sallyport/step-up/finish": "step-up/finish",
		"/.sallyport/sign-in":        "sign-in",
		"/.sallyport/made-up-1":      "other",
		"/.sallyport/step-up/":       "other",
		"/.sallyport/":               "other",
		"/elsewhere":                 "other",
	} {
		if got := endpoint(path); got != want {
			t.Errorf("%s counts as %q, want %q", path, got, want)
		}
	}
}
