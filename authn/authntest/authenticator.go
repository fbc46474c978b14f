package authntest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// What a browser rejects a ceremony's promise with.
var (
	ErrExcluded  = errors.New("InvalidStateError: the authenticator holds an excluded credential")
	ErrNoPasskey = errors.New("NotAllowedError: the authenticator holds no such passkey")
	ErrSecurity  = errors.New("SecurityError: the relying party id is not the page's host or above it")
)

// COSE algorithms that an [Authenticator] can sign with (RFC 9053, RFC 8812).
const (
	ES256 = -7
	EdDSA = -8
	ES384 = -35
	RS256 = -257
)

// Authenticator is a WebAuthn authenticator and the browser that uses it, in
// software. It takes the options that a server emits and returns the JSON that a
// page would post: PublicKeyCredential.toJSON(). Set fields between ceremonies,
// not during one; the ceremonies themselves may run concurrently.
//
// It is honest, and as strict as a browser, except where Lie says otherwise.
type Authenticator struct {
	Origin         string   // of the page that runs the ceremonies
	AAGUID         [16]byte // its make
	Algorithm      int      // of new keys, offered or not; 0: the first offered one that it can do
	Attestation    string   // "packed" (self attestation, also ""), "x5c" (packed, with a batch certificate) or "none"
	Attachment     string   // "platform" (also "") or "cross-platform"
	Transports     []string // nil: internal
	NonResident    bool     // makes no discoverable keys, hence returns no user handle
	BackupEligible bool     // BE and BS flags, of the next ceremony
	BackedUp       bool
	Uncounted      bool   // the sign count stays zero
	Count          uint32 // sign count of the last ceremony; lower it, and the next one goes back

	Lie Lies

	mu    sync.Mutex
	keys  []softKey
	batch *batch
}

// Lies are what an attacker changes in an otherwise honest answer. Zero values
// change nothing.
type Lies struct {
	Unverified     bool           // UV flag 0
	Absent         bool           // UP flag 0
	Type           string         // client data type
	Challenge      []byte         // instead of the issued one
	Origin         string         // in the client data; the page's own for everything else
	CrossOrigin    bool           // in a frame of another site
	TopOrigin      string         // that site
	RPID           string         // hashed into the authenticator data
	CredentialID   []byte         // assert with this key, even if the options do not list it
	UserHandle     []byte         // returned with an assertion
	TamperedSig    bool           // one bit of the signature flipped
	Extensions     map[string]any // client extension outputs, asked for or not
	IgnoreExcluded bool           // make a key although an excluded one is held
}

// NewAuthenticator returns an authenticator in a browser that shows a page of
// the given origin.
func NewAuthenticator(origin string) *Authenticator {
	return &Authenticator{Origin: origin, AAGUID: [16]byte{0: 0x5a, 6: 0x40, 8: 0x80, 15: 1}}
}

// Clone returns a copy with the same keys and the same count, as an attacker has who
// copied the keys.
func (a *Authenticator) Clone() *Authenticator {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &Authenticator{
		Origin: a.Origin, AAGUID: a.AAGUID, Algorithm: a.Algorithm, Attestation: a.Attestation,
		Attachment: a.Attachment, Transports: slices.Clone(a.Transports), NonResident: a.NonResident,
		BackupEligible: a.BackupEligible, BackedUp: a.BackedUp, Uncounted: a.Uncounted, Count: a.Count,
		Lie: a.Lie, keys: slices.Clone(a.keys), batch: a.batch,
	}
}

// Credentials returns the ids of the keys it holds, oldest first.
func (a *Authenticator) Credentials() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids [][]byte
	for _, k := range a.keys {
		ids = append(ids, slices.Clone(k.id))
	}
	return ids
}

// Create answers the options of navigator.credentials.create.
func (a *Authenticator) Create(options []byte) ([]byte, error) {
	var o creationOptions
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("TypeError: creation options: %w", err)
	}
	if len(o.Challenge) == 0 || len(o.User.ID) == 0 || len(o.User.ID) > 64 || o.User.Name == "" || o.RP.Name == "" {
		return nil, errors.New("TypeError: creation options lack a challenge, a user or a relying party")
	}
	if err := a.checkPage(o.RP.ID); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range o.Exclude {
		if _, ok := a.find(o.RP.ID, d.ID); ok && !a.Lie.IgnoreExcluded {
			return nil, ErrExcluded
		}
	}
	var offered []int
	for _, p := range o.Params {
		offered = append(offered, p.Alg)
	}
	key, err := newSoftKey(a.algorithm(offered))
	if err != nil {
		return nil, err
	}
	key.rpID, key.handle, key.resident = o.RP.ID, o.User.ID, !a.NonResident
	a.keys = append(a.keys, key)

	clientData := a.clientData("webauthn.create", o.Challenge)
	authData := a.authData(o.RP.ID, &key)
	object, err := a.attest(o.Attestation, key, authData, clientData)
	if err != nil {
		return nil, err
	}
	extensions := map[string]any{}
	if o.Extensions["credProps"] == true {
		extensions["credProps"] = map[string]any{"rk": key.resident}
	}
	return a.toJSON(key.id, extensions, map[string]any{
		"clientDataJSON":     b64(clientData),
		"attestationObject":  b64(object),
		"authenticatorData":  b64(authData),
		"transports":         a.transports(),
		"publicKey":          b64(key.spki()),
		"publicKeyAlgorithm": key.alg,
	})
}

// Get answers the options of navigator.credentials.get.
func (a *Authenticator) Get(options []byte) ([]byte, error) {
	var o requestOptions
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, fmt.Errorf("TypeError: request options: %w", err)
	}
	if len(o.Challenge) == 0 {
		return nil, errors.New("TypeError: request options lack a challenge")
	}
	if err := a.checkPage(o.RPID); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key, ok := a.choose(o)
	if !ok {
		return nil, ErrNoPasskey
	}
	clientData := a.clientData("webauthn.get", o.Challenge)
	authData := a.authData(o.RPID, nil)
	sig, err := key.sign(signed(authData, clientData))
	if err != nil {
		return nil, err
	}
	if a.Lie.TamperedSig {
		sig[len(sig)-1] ^= 1
	}
	response := map[string]any{
		"clientDataJSON":    b64(clientData),
		"authenticatorData": b64(authData),
		"signature":         b64(sig),
	}
	switch {
	case a.Lie.UserHandle != nil:
		response["userHandle"] = b64(a.Lie.UserHandle)
	case key.resident:
		response["userHandle"] = b64(key.handle)
	}
	return a.toJSON(key.id, map[string]any{}, response)
}

// checkPage is the browser's own check of the relying party id.
func (a *Authenticator) checkPage(rpID string) error {
	u, err := url.Parse(a.Origin)
	if err != nil {
		return err
	}
	if rpID == "" || u.Hostname() != rpID && !strings.HasSuffix(u.Hostname(), "."+rpID) {
		return fmt.Errorf("%w: %q on %s", ErrSecurity, rpID, a.Origin)
	}
	return nil
}

func (a *Authenticator) find(rpID string, id []byte) (softKey, bool) {
	i := slices.IndexFunc(a.keys, func(k softKey) bool {
		return string(k.id) == string(id) && (rpID == "" || k.rpID == rpID)
	})
	if i < 0 {
		return softKey{}, false
	}
	return a.keys[i], true
}

func (a *Authenticator) choose(o requestOptions) (softKey, bool) {
	if a.Lie.CredentialID != nil {
		return a.find("", a.Lie.CredentialID)
	}
	for _, d := range o.Allow {
		if k, ok := a.find(o.RPID, d.ID); ok {
			return k, true
		}
	}
	if len(o.Allow) == 0 {
		for _, k := range slices.Backward(a.keys) {
			if k.resident && k.rpID == o.RPID {
				return k, true
			}
		}
	}
	return softKey{}, false
}

func (a *Authenticator) clientData(typ string, challenge []byte) []byte {
	c := struct {
		Type        string `json:"type"`
		Challenge   b64    `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
		TopOrigin   string `json:"topOrigin,omitempty"`
	}{typ, challenge, a.Origin, a.Lie.CrossOrigin, a.Lie.TopOrigin}
	if a.Lie.Type != "" {
		c.Type = a.Lie.Type
	}
	if a.Lie.Challenge != nil {
		c.Challenge = a.Lie.Challenge
	}
	if a.Lie.Origin != "" {
		c.Origin = a.Lie.Origin
	}
	out, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and booleans always encode
	}
	return out
}

// authData is laid out as in section 6.1; with attested credential data if a key
// was just made.
func (a *Authenticator) authData(rpID string, made *softKey) []byte {
	if a.Lie.RPID != "" {
		rpID = a.Lie.RPID
	}
	hash := sha256.Sum256([]byte(rpID))
	var flags byte
	for bit, set := range map[int]bool{0: !a.Lie.Absent, 2: !a.Lie.Unverified, 3: a.BackupEligible, 4: a.BackedUp, 6: made != nil} {
		if set {
			flags |= 1 << bit
		}
	}
	if a.Uncounted {
		a.Count = 0
	} else {
		a.Count++
	}
	out := append(hash[:], flags)
	out = binary.BigEndian.AppendUint32(out, a.Count)
	if made != nil {
		out = append(out, a.AAGUID[:]...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(made.id)))
		out = append(out, made.id...)
		out = append(out, made.cose()...)
	}
	return out
}

// signed is what signatures of both ceremonies cover.
func signed(authData, clientData []byte) []byte {
	hash := sha256.Sum256(clientData)
	return slices.Concat(authData, hash[:])
}

func (a *Authenticator) transports() []string {
	if a.Transports != nil {
		return a.Transports
	}
	return []string{"internal"}
}

// attest makes the attestation object (section 6.5). A page that asks for none gets none,
// even if the authenticator can attest.
func (a *Authenticator) attest(wanted string, key softKey, authData, clientData []byte) ([]byte, error) {
	format, statement := "none", map[string]any{}
	if a.Attestation != "none" && wanted != "none" && wanted != "" {
		var err error
		format = "packed"
		if a.Attestation == "x5c" {
			statement, err = a.batchStatement(signed(authData, clientData))
		} else {
			var sig []byte
			sig, err = key.sign(signed(authData, clientData))
			statement = map[string]any{"alg": key.alg, "sig": sig}
		}
		if err != nil {
			return nil, err
		}
		if a.Lie.TamperedSig {
			sig := statement["sig"].([]byte)
			sig[len(sig)-1] ^= 1
		}
	}
	return ctap2.Marshal(map[string]any{"fmt": format, "attStmt": statement, "authData": authData})
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

var ctap2 = func() cbor.EncMode {
	m, err := cbor.CTAP2EncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()
