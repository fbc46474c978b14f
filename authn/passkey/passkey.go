package passkey

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
)

const (
	// MaxBody is the longest answer of a browser that is looked at. The largest
	// honest ones, attestations with certificate chains, are below 10 kB.
	MaxBody = 64 << 10
	// MaxCredentials is how many passkeys one person may have, blocked ones
	// included: the options sent to the browser list them all.
	MaxCredentials = 20
	// FreshFor is how old the assertion may be that allows a further passkey.
	FreshFor = 5 * time.Minute

	ceremonyFor = 5 * time.Minute // also the time-out that the browser is given
)

// Config is what a relying party needs. All fields are required, except Now and
// Logger.
type Config struct {
	// RPID is the relying party id: a domain that every origin's host equals or
	// ends in. Passkeys are bound to it for good: changing it loses them all.
	RPID   string
	RPName string // shown by authenticators
	// Origins are the pages on which ceremonies may run, as browsers serialise
	// them ("https://login.example.com", no trailing slash, no default port).
	Origins    []string
	Store      Store
	Ceremonies Once
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: nothing is logged
}

// RelyingParty runs ceremonies. It is safe for concurrent use.
type RelyingParty struct {
	library    *webauthn.WebAuthn
	store      Store
	ceremonies Once
	now        func() time.Time
	log        *slog.Logger
}

// New checks c. It does no I/O.
func New(c Config) (*RelyingParty, error) {
	switch {
	case c.Store == nil || c.Ceremonies == nil:
		return nil, errors.New("passkey: Config needs a Store and Ceremonies")
	case c.RPName == "":
		return nil, errors.New("passkey: Config needs an RPName")
	case len(c.Origins) == 0:
		return nil, errors.New("passkey: Config needs at least one origin")
	}
	if err := protocol.ValidateRPID(c.RPID); err != nil {
		return nil, fmt.Errorf("passkey: relying party id %q: %w", c.RPID, err)
	}
	for _, origin := range c.Origins {
		if err := checkOrigin(origin, c.RPID); err != nil {
			return nil, fmt.Errorf("passkey: origin %q: %w", origin, err)
		}
	}
	library, err := webauthn.New(&webauthn.Config{
		RPID:          c.RPID,
		RPDisplayName: c.RPName,
		RPOrigins:     c.Origins,
		// The statement is kept for later judgement: asking for none would make
		// every authenticator anonymous for good.
		AttestationPreference: protocol.PreferDirectAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey:      protocol.ResidentKeyRequirementPreferred,
			UserVerification: protocol.VerificationRequired,
		},
		// Only told to the browser. The library would enforce it by the wall
		// clock; here the Once store does, by Config.Now.
		Timeouts: webauthn.TimeoutsConfig{
			Login:        webauthn.TimeoutConfig{Timeout: ceremonyFor},
			Registration: webauthn.TimeoutConfig{Timeout: ceremonyFor},
		},
		RPAllowCrossOrigin:                false,
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore, // none is read: see answer
	})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	rp := &RelyingParty{library: library, store: c.Store, ceremonies: c.Ceremonies, now: c.Now, log: c.Logger}
	if rp.now == nil {
		rp.now = time.Now
	}
	if rp.log == nil {
		rp.log = slog.New(slog.DiscardHandler)
	}
	return rp, nil
}

// algorithms are what registrations offer, the preferred one first: ES256 is in
// every authenticator, RS256 is what TPM 1.2-era Windows Hello has.
func algorithms() []protocol.CredentialParameter {
	var out []protocol.CredentialParameter
	for _, alg := range []webauthncose.COSEAlgorithmIdentifier{
		webauthncose.AlgES256, webauthncose.AlgEdDSA, webauthncose.AlgRS256,
	} {
		out = append(out, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: alg})
	}
	return out
}

// checkOrigin accepts origins as a browser writes them into client data, because
// they are compared byte for byte; and only such as may use rpID.
func checkOrigin(origin, rpID string) error {
	u, err := url.Parse(origin)
	if err != nil {
		return err
	}
	host := u.Hostname()
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the scheme must be https")
	case u.Scheme == "http" && !local:
		return errors.New("http is for localhost only: browsers have no passkeys on it elsewhere")
	case origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin):
		return errors.New("an origin is scheme://host[:port] in lower case and nothing else")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return errors.New("browsers leave the default port out")
	case host != rpID && !strings.HasSuffix(host, "."+rpID):
		return fmt.Errorf("the host is not %s or below it", rpID)
	}
	return nil
}
