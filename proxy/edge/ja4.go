package edge

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Fingerprint describes a client's TLS hello. The zero value is unknown: no TLS, or
// another server ended it.
type Fingerprint struct {
	// JA4 as FoxIO defines it (github.com/FoxIO-LLC/ja4, BSD-3-Clause; the other methods
	// of the JA4+ suite have another licence and are not here), for a hello that does not
	// resume a session. A resumed session has the JA4 of its client's first one.
	JA4 string
	// Family has the same form, without the parts that one client changes between
	// connections. It is for comparing connections; published lists do not contain it.
	Family string
}

// TLS extensions that need a name (IANA, "TLS ExtensionType Values").
const (
	extSNI          = 0
	extALPN         = 16
	extPadding      = 21
	extPreSharedKey = 41
	extEarlyData    = 42
	extALPS         = 17513 // draft-vvv-tls-alps, the first number that it used
	extALPSNew      = 17613
)

var (
	// resuming are the extensions of a client that resumes a session.
	resuming = []uint16{extPreSharedKey, extEarlyData}
	// passing are those that depend on the purpose of the connection: whether it is for a
	// WebSocket, how long the host's name is.
	passing = []uint16{extPreSharedKey, extEarlyData, extPadding, extALPN, extALPS, extALPSNew}
)

// longestList bounds the work for one handshake: hellos of browsers have fewer than
// thirty entries in a list. A longer list is cut, and not treated as unknown: unknown
// never differs.
const longestList = 256

// fingerprint reads a hello. It costs some microseconds, a hundredth of a handshake.
func fingerprint(h *tls.ClientHelloInfo) Fingerprint {
	return Fingerprint{JA4: ja4(h, resuming, alpn(h.SupportedProtos)), Family: ja4(h, passing, "00")}
}

func ja4(h *tls.ClientHelloInfo, without []uint16, protocol string) string {
	ciphers := plain(h.CipherSuites, nil)
	extensions := plain(h.Extensions, without)
	sni := "i"
	if slices.Contains(extensions, extSNI) {
		sni = "d"
	}
	a := fmt.Sprintf("t%s%s%02d%02d%s", tlsVersion(h.SupportedVersions), sni, min(len(ciphers), 99), min(len(extensions), 99), protocol)
	slices.Sort(ciphers)
	extensions = slices.DeleteFunc(extensions, func(v uint16) bool { return v == extSNI || v == extALPN })
	slices.Sort(extensions)
	c := hexList(extensions)
	if s := plain(h.SignatureSchemes, nil); len(s) > 0 {
		c += "_" + hexList(s) // in the client's order
	}
	return a + "_" + hash12(hexList(ciphers)) + "_" + hash12(c)
}

// plain is a list without GREASE (RFC 8701) and without some of its values.
func plain[T ~uint16](list []T, without []uint16) []uint16 {
	kept := make([]uint16, 0, 32)
	for _, v := range list[:min(len(list), longestList)] {
		v := uint16(v)
		if grease := v&0x0f0f == 0x0a0a && v>>8 == v&0xff; !grease && !slices.Contains(without, v) {
			kept = append(kept, v)
		}
	}
	return kept
}

func tlsVersion(offered []uint16) string {
	switch slices.Max(append(plain(offered, nil), 0)) {
	case tls.VersionTLS13:
		return "13"
	case tls.VersionTLS12:
		return "12"
	case tls.VersionTLS11:
		return "11"
	case tls.VersionTLS10:
		return "10"
	}
	return "00"
}

// alpn is the first and the last character of the first protocol, or of its hexadecimal
// form if those are not letters or digits.
func alpn(protocols []string) string {
	if len(protocols) == 0 || protocols[0] == "" {
		return "00"
	}
	p := protocols[0]
	if !alphanumeric(p[0]) || !alphanumeric(p[len(p)-1]) {
		p = hex.EncodeToString([]byte(p))
	}
	return string([]byte{p[0], p[len(p)-1]})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func hexList(list []uint16) string {
	var b strings.Builder
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%04x", v)
	}
	return b.String()
}

// hash12 is the truncated SHA-256 of a list, and zeros for an empty one.
func hash12(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// noteHello stores the fingerprint with the connection. It is called in the handshake,
// before the first request.
func noteHello(h *tls.ClientHelloInfo) {
	if c, ok := h.Conn.(*conn); ok {
		c.info.hello = fingerprint(h)
	}
}

// FingerprintOf returns the fingerprint of the TLS hello of r's connection.
func FingerprintOf(r *http.Request) Fingerprint {
	if r.TLS == nil {
		return Fingerprint{}
	}
	info, ok := r.Context().Value(connInfoKey{}).(*connInfo)
	if !ok {
		return Fingerprint{}
	}
	return info.hello
}
