package edge_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// authority is a certificate authority that speaks RFC 8555. It asserts what a
// real one would refuse: signatures, nonces used once, the URL in the header,
// the account, and the proof of every challenge, fetched from the server itself.
type authority struct {
	*httptest.Server
	t      testing.TB
	pki    *pki
	offers []string // challenge types
	// Where the validation connects to, instead of ports 80 and 443 of the name.
	httpAddr, tlsAddr func() string
	lifetime          func(n int) time.Duration // of the nth certificate

	mu       sync.Mutex
	nonces   map[string]bool
	accounts map[string]*jose.JSONWebKey // by URL
	orders   []*acmeOrder
	issued   []string // names
	contact  []string
	attempts int // orders asked for
	proofs   []string
}

type acmeOrder struct {
	host, token, status, problem, proven string
	account                              string
	cert                                 []byte
}

func newAuthority(t testing.TB, offers ...string) *authority {
	a := &authority{t: t, pki: newPKI(t), offers: offers, nonces: map[string]bool{}, accounts: map[string]*jose.JSONWebKey{},
		lifetime: func(int) time.Duration { return 90 * 24 * time.Hour }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dir", func(w http.ResponseWriter, r *http.Request) {
		a.json(w, 200, map[string]any{"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/order",
			"revokeCert": a.URL + "/revoke", "keyChange": a.URL + "/key", "meta": map[string]any{"termsOfService": a.URL + "/terms"}})
	})
	mux.HandleFunc("HEAD /nonce", func(w http.ResponseWriter, r *http.Request) { a.mu.Lock(); defer a.mu.Unlock(); a.nonce(w) })
	mux.HandleFunc("POST /{what}/", a.post)
	mux.HandleFunc("POST /{what}", a.post)
	a.Server = httptest.NewTLSServer(mux)
	t.Cleanup(a.Close)
	return a
}

// caFile holds what the directory's own certificate is verified with.
func (a *authority) caFile() string {
	f := a.t.TempDir() + "/directory.pem"
	write(a.t, f, pemOf("CERTIFICATE", a.Certificate().Raw))
	return f
}

func (a *authority) nonce(w http.ResponseWriter) {
	b := make([]byte, 16)
	rand.Read(b)
	n := base64.RawURLEncoding.EncodeToString(b)
	a.nonces[n] = true
	w.Header().Set("Replay-Nonce", n)
}

func (a *authority) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (a *authority) refuse(w http.ResponseWriter, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusForbidden)
	json.NewEncoder(w).Encode(map[string]string{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail})
}

// open verifies the envelope (section 6.2) and returns payload and account.
func (a *authority) open(r *http.Request) (payload []byte, account string, key *jose.JSONWebKey, err error) {
	body, _ := io.ReadAll(r.Body)
	jws, err := jose.ParseSigned(string(body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, "", nil, err
	}
	h := jws.Signatures[0].Protected
	if url, _ := h.ExtraHeaders["url"].(string); url != a.URL+r.URL.Path {
		return nil, "", nil, fmt.Errorf("url %q", url)
	}
	if !a.nonces[h.Nonce] {
		return nil, "", nil, fmt.Errorf("badNonce")
	}
	delete(a.nonces, h.Nonce)
	key, account = h.JSONWebKey, h.KeyID
	if key == nil {
		if key = a.accounts[account]; key == nil {
			return nil, "", nil, fmt.Errorf("accountDoesNotExist")
		}
	}
	payload, err = jws.Verify(key)
	return payload, account, key, err
}

func (a *authority) post(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	payload, account, key, err := a.open(r)
	a.nonce(w)
	if err != nil {
		a.t.Errorf("the client sent %s: %v", r.URL.Path, err)
		a.refuse(w, "malformed", err.Error())
		return
	}
	var n int
	what, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	fmt.Sscan(id, &n)
	switch what {
	case "account":
		a.newAccount(w, payload, key)
	case "order":
		if id == "" {
			a.newOrder(w, payload, account)
		} else {
			a.order(w, n)
		}
	case "authz":
		a.authz(w, n)
	case "chall":
		a.challenge(w, n, strings.TrimPrefix(id, fmt.Sprint(n, "/")))
	case "finalize":
		a.finalize(w, n, payload)
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(a.orders[n].cert)
	default:
		a.refuse(w, "malformed", "no such resource")
	}
}

func (a *authority) newAccount(w http.ResponseWriter, payload []byte, key *jose.JSONWebKey) {
	var req struct {
		Contact  []string `json:"contact"`
		Agreed   bool     `json:"termsOfServiceAgreed"`
		Existing bool     `json:"onlyReturnExisting"`
	}
	json.Unmarshal(payload, &req)
	thumb, _ := key.Thumbprint(crypto.SHA256)
	url := a.URL + "/acct/" + base64.RawURLEncoding.EncodeToString(thumb)
	w.Header().Set("Location", url)
	if a.accounts[url] != nil {
		a.json(w, 200, map[string]string{"status": "valid"})
		return
	}
	if !req.Agreed {
		a.refuse(w, "userActionRequired", "agree to the terms")
		return
	}
	a.accounts[url], a.contact = key, req.Contact
	a.json(w, 201, map[string]string{"status": "valid"})
}

func (a *authority) newOrder(w http.ResponseWriter, payload []byte, account string) {
	var req struct {
		Identifiers []struct{ Type, Value string } `json:"identifiers"`
	}
	json.Unmarshal(payload, &req)
	a.attempts++
	if len(req.Identifiers) != 1 || a.accounts[account] == nil {
		a.refuse(w, "malformed", "one identifier")
		return
	}
	token := make([]byte, 16)
	rand.Read(token)
	a.orders = append(a.orders, &acmeOrder{host: req.Identifiers[0].Value, token: base64.RawURLEncoding.EncodeToString(token), status: "pending", account: account})
	w.Header().Set("Location", fmt.Sprint(a.URL, "/order/", len(a.orders)-1))
	a.order(w, len(a.orders)-1, 201)
}

func (a *authority) order(w http.ResponseWriter, n int, status ...int) {
	o := a.orders[n]
	w.Header().Set("Location", fmt.Sprint(a.URL, "/order/", n))
	a.json(w, append(status, 200)[0], map[string]any{"status": o.status, "identifiers": []map[string]string{{"type": "dns", "value": o.host}},
		"authorizations": []string{fmt.Sprint(a.URL, "/authz/", n)}, "finalize": fmt.Sprint(a.URL, "/finalize/", n), "certificate": fmt.Sprint(a.URL, "/cert/", n)})
}

func (a *authority) authz(w http.ResponseWriter, n int) {
	o := a.orders[n]
	status := map[string]string{"pending": "pending", "invalid": "invalid"}[o.status]
	if status == "" {
		status = "valid"
	}
	var list []any
	for _, kind := range a.offers {
		list = append(list, a.challengeOf(n, kind))
	}
	a.json(w, 200, map[string]any{"status": status, "identifier": map[string]string{"type": "dns", "value": o.host}, "challenges": list})
}

func (a *authority) challengeOf(n int, kind string) map[string]any {
	o := a.orders[n]
	c := map[string]any{"type": kind, "url": fmt.Sprint(a.URL, "/chall/", n, "/", kind), "token": o.token, "status": "pending"}
	if o.problem != "" {
		c["status"], c["error"] = "invalid", map[string]string{"type": "urn:ietf:params:acme:error:unauthorized", "detail": o.problem}
	}
	return c
}

// challenge validates at once, from outside, like an authority would.
func (a *authority) challenge(w http.ResponseWriter, n int, kind string) {
	o := a.orders[n]
	thumb, _ := a.accounts[o.account].Thumbprint(crypto.SHA256)
	want := o.token + "." + base64.RawURLEncoding.EncodeToString(thumb)
	var err error
	switch kind {
	case "http-01":
		err = a.checkHTTP(o, want)
	case "tls-alpn-01":
		err = a.checkALPN(o, want)
	}
	if o.status = "ready"; err != nil {
		o.status, o.problem = "invalid", err.Error()
	} else {
		a.proofs = append(a.proofs, kind)
	}
	a.json(w, 200, a.challengeOf(n, kind))
}

func (a *authority) checkHTTP(o *acmeOrder, want string) error {
	req, _ := http.NewRequest("GET", "http://"+a.httpAddr()+"/.well-known/acme-challenge/"+o.token, nil)
	req.Host = strings.ToUpper(o.host) + ":80" // spelled as it may be
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); strings.TrimSpace(string(body)) != want {
		return fmt.Errorf("the key authorization is %d %q", res.StatusCode, body)
	}
	return nil
}

// checkALPN is RFC 8737 section 3.
func (a *authority) checkALPN(o *acmeOrder, want string) error {
	c, err := tls.Dial("tcp", a.tlsAddr(), &tls.Config{ServerName: o.host, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer c.Close()
	state := c.ConnectionState()
	leaf := state.PeerCertificates[0]
	if state.NegotiatedProtocol != "acme-tls/1" || !slices.Equal(leaf.DNSNames, []string{o.host}) {
		return fmt.Errorf("protocol %q, names %q", state.NegotiatedProtocol, leaf.DNSNames)
	}
	sum := sha256.Sum256([]byte(want))
	digest, _ := asn1.Marshal(sum[:])
	for _, e := range leaf.Extensions {
		if e.Id.String() == "1.3.6.1.5.5.7.1.31" && e.Critical && bytes.Equal(e.Value, digest) {
			return nil
		}
	}
	return fmt.Errorf("no proof in the certificate")
}

func (a *authority) finalize(w http.ResponseWriter, n int, payload []byte) {
	o := a.orders[n]
	var req struct {
		CSR string `json:"csr"`
	}
	json.Unmarshal(payload, &req)
	der, _ := base64.RawURLEncoding.DecodeString(req.CSR)
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || !slices.Equal(csr.DNSNames, []string{o.host}) || o.status != "ready" {
		a.refuse(w, "badCSR", "the request does not fit the order")
		return
	}
	leaf := a.pki.leaf(o.host)
	leaf.NotAfter = time.Now().Add(a.lifetime(len(a.issued)))
	leaf.SerialNumber = big.NewInt(int64(100 + len(a.issued)))
	cert, err := x509.CreateCertificate(rand.Reader, leaf, a.pki.ca, csr.PublicKey, a.pki.key)
	if err != nil {
		a.refuse(w, "serverInternal", err.Error())
		return
	}
	o.cert, o.status = append(pemOf("CERTIFICATE", cert), pemOf("CERTIFICATE", a.pki.ca.Raw)...), "valid"
	a.issued = append(a.issued, o.host)
	a.order(w, n)
}

func (a *authority) seen() (attempts int, issued, proofs []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts, slices.Clone(a.issued), slices.Clone(a.proofs)
}
