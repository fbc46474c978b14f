package authntest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// softKey is one passkey.
type softKey struct {
	id       []byte
	rpID     string
	handle   []byte
	resident bool
	alg      int
	signer   crypto.Signer
}

// algorithm is the wanted one, or the first offered that newSoftKey can do.
func (a *Authenticator) algorithm(offered []int) int {
	if a.Algorithm != 0 {
		return a.Algorithm
	}
	for _, alg := range offered {
		if slices.Contains([]int{ES256, EdDSA, ES384, RS256}, alg) {
			return alg
		}
	}
	return 0
}

func newSoftKey(alg int) (softKey, error) {
	k := softKey{id: randomBytes(32), alg: alg}
	var err error
	switch alg {
	case ES256:
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ES384:
		k.signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case EdDSA:
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return k, fmt.Errorf("NotSupportedError: no algorithm in common (%d)", alg)
	}
	return k, err
}

func (k softKey) sign(message []byte) ([]byte, error) {
	hash := map[int]crypto.Hash{ES256: crypto.SHA256, ES384: crypto.SHA384, RS256: crypto.SHA256}[k.alg]
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	return k.signer.Sign(rand.Reader, message, hash)
}

// cose is the public key as a COSE_Key (RFC 9052 section 7, RFC 8230).
func (k softKey) cose() []byte {
	m := map[int]any{3: k.alg}
	switch pub := k.signer.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes() // 4, then both coordinates
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		m[1], m[-1], m[-2], m[-3] = 2, map[int]int{ES256: 1, ES384: 2}[k.alg], point[1:1+half], point[1+half:]
	case ed25519.PublicKey:
		m[1], m[-1], m[-2] = 1, 6, []byte(pub)
	case *rsa.PublicKey:
		m[1], m[-1], m[-2] = 3, pub.N.Bytes(), big.NewInt(int64(pub.E)).Bytes()
	}
	out, err := ctap2.Marshal(m)
	if err != nil {
		panic(err)
	}
	return out
}

func (k softKey) spki() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		panic(err)
	}
	return der
}

// batch is the attestation key of a make of authenticators, and the authority
// that certified it.
type batch struct {
	root, leaf *x509.Certificate
	key        *ecdsa.PrivateKey
}

// AttestationRoot returns the authority above the batch certificate of "x5c"
// attestations: what a metadata statement would list.
func (a *Authenticator) AttestationRoot() (*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := a.attestationBatch()
	if err != nil {
		return nil, err
	}
	return b.root, nil
}

func (a *Authenticator) batchStatement(message []byte) (map[string]any, error) {
	b, err := a.attestationBatch()
	if err != nil {
		return nil, err
	}
	sig, err := softKey{alg: ES256, signer: b.key}.sign(message)
	if err != nil {
		return nil, err
	}
	return map[string]any{"alg": ES256, "sig": sig, "x5c": [][]byte{b.leaf.Raw}}, nil
}

// attestationBatch makes the batch certificate on first use, as section 8.2.1
// wants it: subject, version, not an authority, the AAGUID in an extension.
func (a *Authenticator) attestationBatch() (*batch, error) {
	if a.batch != nil {
		return a.batch, nil
	}
	aaguid, err := asn1.Marshal(a.AAGUID[:])
	if err != nil {
		return nil, err
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		Subject:  pkix.Name{Country: []string{"US"}, Organization: []string{"authntest"}, CommonName: "authntest root"},
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	root, err := certificate(template, template, rootKey, rootKey)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.IsCA, template.KeyUsage = big.NewInt(2), false, x509.KeyUsageDigitalSignature
	template.Subject.CommonName = "authntest batch"
	template.Subject.OrganizationalUnit = []string{"Authenticator Attestation"}
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: aaguid}}
	leaf, err := certificate(template, *root, leafKey, rootKey)
	if err != nil {
		return nil, err
	}
	a.batch = &batch{root: root, leaf: leaf, key: leafKey}
	return a.batch, nil
}

func certificate(template, parent x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, &template, &parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
