package portal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"sallyport/authn/session"
	"sallyport/authn/signin"
)

// sealedState is our state of a sign-in while the person is at the OpenID provider.
type sealedState struct {
	ReturnTo string `json:"return_to"`
	Bind     string `json:"bind,omitempty"`
}

// flowKey seals a flow while it waits in the store. The address to return to may hold an
// enrolment ticket, and a reader of the store must not learn it: only the browser has the
// key.
type flowKey string

func newFlowKey() flowKey { return flowKey(rand.Text()) }

func (k flowKey) aead() (cipher.AEAD, error) {
	sum := sha256.Sum256([]byte(k))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k flowKey) seal(f sealedState) ([]byte, error) {
	plain, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	a, err := k.aead()
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, plain, nil), nil
}

func (k flowKey) open(sealed []byte) (f sealedState, err error) {
	a, err := k.aead()
	if err != nil {
		return f, err
	}
	plain, err := a.Open(nil, nil, sealed, nil)
	if err != nil {
		return f, errors.New("the flow does not open with this browser's key")
	}
	return f, json.Unmarshal(plain, &f)
}

// returnStateOf is the return state of a sign-in that failed, so that it can start again.
// If it is unknown or no longer valid, it leads to the account page.
func (p *Portal) returnStateOf(v PageRequest, key flowKey, sealed []byte) returnState {
	if f, err := key.open(sealed); err == nil {
		if rs, err := p.parseReturnState(v, f.ReturnTo, f.Bind, ""); err == nil {
			return rs
		}
	}
	return returnState{to: returnTo{p.origin, Prefix + "account"}}
}

const flowCookiePrefix = "sallyport-flow-"

const flowSeparator = "." // occurs in neither base64url nor rand.Text

// flowCookie binds a sign-in to this browser, and holds its key. It is named after
// the state, so that sign-ins in several tabs do not overwrite each other. An
// empty value deletes it.
func (p *Portal) flowCookie(state, value string) *http.Cookie {
	c := &http.Cookie{Name: p.flowCookieName(state), Value: value, Path: "/", MaxAge: int(signin.FlowLifetime / time.Second),
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func (p *Portal) flowCookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return session.HostCookie(p.secure, flowCookiePrefix+base64.RawURLEncoding.EncodeToString(sum[:9]))
}

// maxFlows is how many sign-ins a browser may have under way, in as many tabs. Without a
// bound their cookies, which live for FlowLifetime, outgrow the limit of a request
// header, and every page of this host answers 431.
const maxFlows = 16

// boundFlows deletes the cookies of the oldest sign-ins, so that there is room for one
// more. Browsers send cookies of one path in the order in which they were made (RFC 6265
// section 5.4).
func (p *Portal) boundFlows(w http.ResponseWriter, r *http.Request) {
	prefix := session.HostCookie(p.secure, flowCookiePrefix)
	var flows []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			flows = append(flows, c.Name)
		}
	}
	for _, name := range flows[:max(0, len(flows)-maxFlows+1)] {
		c := p.flowCookie("", "")
		c.Name = name
		http.SetCookie(w, c)
	}
}

// flowSecrets reads the flow cookie. Without one the binding is empty, which
// signin refuses.
func (p *Portal) flowSecrets(r *http.Request, state string) (binding string, key flowKey) {
	c, err := r.Cookie(p.flowCookieName(state))
	if err != nil {
		return "", ""
	}
	binding, k, _ := strings.Cut(c.Value, flowSeparator)
	return binding, flowKey(k)
}
