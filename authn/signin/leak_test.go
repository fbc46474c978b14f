package signin_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

// recorder keeps every secret that went over the wire.
type recorder struct {
	base    http.RoundTripper
	secrets []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, token, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok {
		r.secrets = append(r.secrets, token)
	}
	return r.base.RoundTrip(req)
}

// TestNothingSecretIsWritten breaks the provider in every way there is and
// looks for tokens, codes, states and the client secret in errors and logs.
func TestNothingSecretIsWritten(t *testing.T) {
	for _, fault := range []authntest.IdPFault{
		"", authntest.FaultDown, authntest.FaultKeysDown, authntest.FaultRedirect, authntest.FaultHuge, authntest.FaultInvalidClient,
		authntest.FaultMixUpIss, authntest.FaultNoIss, authntest.FaultNoIDToken, authntest.FaultUserinfoSub, authntest.FaultUserinfoDown,
		authntest.FaultAlgNone, authntest.FaultAlgHS256, authntest.FaultForeignKey, authntest.FaultWrongNonce, authntest.FaultAccessHash,
		authntest.FaultExpired, authntest.FaultEmailUnverified, authntest.FaultRefreshAsOther, authntest.FaultNoRefreshFacts,
	} {
		t.Run("fault="+string(fault), func(t *testing.T) {
			var out bytes.Buffer
			wire := &recorder{base: http.DefaultTransport}
			r := newHarness(t, func(ic *authntest.IdPConfig, c *signin.Config) {
				ic.MinimalIDToken = true
				c.HTTPClient = &http.Client{Transport: wire}
				c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			good := r.mustSignIn("alice-1")
			q, binding := r.begin("alice-1")
			r.idp.SetFaults(fault)
			res, err1 := r.rp.Finish(t.Context(), q, binding)
			_, err2 := r.rp.Refresh(t.Context(), subject(r), good.RefreshToken)
			_, err3 := r.rp.VerifyLogoutToken(t.Context(), good.IDToken)
			_ = r.rp.Discover(t.Context())
			fmt.Fprintf(&out, "%v %+v %#v %v %v %v", good, good, res, err1, err2, err3)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("done", "result", good, "errors", []any{err1, err2, err3}, "pointer", &good)
			secrets := append(wire.secrets, good.IDToken, good.RefreshToken, q.Get("code"), q.Get("state"), binding, secret, url.QueryEscape(secret))
			for _, s := range secrets {
				if s != "" && strings.Contains(out.String(), s) {
					t.Errorf("%.20s... is written in %s", s, out.String())
				}
			}
		})
	}
}
