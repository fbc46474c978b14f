package signin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// claimSet is a JSON object of claims, names exactly as sent.
//
// encoding/json into a struct would take "Email" for "email" and the last of two equal
// names; both are refused in a claim set that decides who a person is.
type claimSet map[string]json.RawMessage

const (
	maxListed = 2000 // values of one claim
	maxText   = 1024 // bytes of one value
)

// UnmarshalJSON refuses repeated names (RFC 7519 section 4).
func (c *claimSet) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("claims are not a JSON object")
	}
	set := claimSet{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if _, twice := set[name]; twice {
			return fmt.Errorf("claim %q appears twice", clip(name))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		set[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	*c = set
	return nil
}

// value returns the claim of that name or path, or nil if it is absent; null counts as
// absent.
//
// A claim of exactly this name comes first, since Auth0 and Zitadel have names with dots
// and slashes. Otherwise dots lead into objects (Keycloak's realm_access.roles), and a
// number into a list (emails.0).
func (c claimSet) value(path string) json.RawMessage {
	if v, ok := c[path]; ok {
		return present(v)
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if v, ok := c[path[:i]]; ok {
			return within(v, path[i+1:])
		}
	}
	return nil
}

// within is value for the rest of a path.
func within(v json.RawMessage, path string) json.RawMessage {
	switch {
	case len(v) > 0 && v[0] == '{':
		var inner claimSet
		if json.Unmarshal(v, &inner) != nil {
			return nil
		}
		return inner.value(path)
	case len(v) > 0 && v[0] == '[':
		head, rest, deeper := strings.Cut(path, ".")
		var all []json.RawMessage
		i, err := strconv.Atoi(head)
		if err != nil || json.Unmarshal(v, &all) != nil || i < 0 || i >= len(all) {
			return nil
		}
		if deeper {
			return within(all[i], rest)
		}
		return present(all[i])
	}
	return nil
}

func present(v json.RawMessage) json.RawMessage {
	if bytes.Equal(v, []byte("null")) {
		return nil
	}
	return v
}

// has reports whether the claim is there.
func (c claimSet) has(path string) bool { return c.value(path) != nil }

// text returns a string claim, or "" if it is absent.
func (c claimSet) text(name string) (string, error) {
	v := c.value(name)
	if v == nil {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", fmt.Errorf("claim %q is not a string", name)
	}
	return s, checkText(name, s)
}

// list returns a claim that may be one string or an array of strings; nil if absent.
func (c claimSet) list(name string) ([]string, error) {
	v := c.value(name)
	if v == nil {
		return nil, nil
	}
	var values []string
	if v[0] == '"' {
		values = make([]string, 1)
		if err := json.Unmarshal(v, &values[0]); err != nil {
			return nil, fmt.Errorf("claim %q is not a string", name)
		}
	} else {
		var some []*string // a null among the values would become "" otherwise
		if err := json.Unmarshal(v, &some); err != nil || slices.Contains(some, nil) {
			return nil, fmt.Errorf("claim %q is neither a string nor a list of strings", name)
		}
		for _, s := range some {
			values = append(values, *s)
		}
	}
	if len(values) > maxListed {
		return nil, fmt.Errorf("claim %q holds %d values, more than %d", name, len(values), maxListed)
	}
	for _, v := range values {
		if err := checkText(name, v); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// truth returns a boolean claim. Some providers send it as a string (Amazon
// Cognito does); anything but exactly true or "true" is false.
func (c claimSet) truth(name string) bool {
	v := string(c.value(name))
	return v == "true" || v == `"true"`
}

// when returns a NumericDate claim (RFC 7519 section 2), or the zero time if it
// is absent.
func (c claimSet) when(name string) (time.Time, error) {
	if !c.has(name) {
		return time.Time{}, nil
	}
	var n float64
	if err := json.Unmarshal(c.value(name), &n); err != nil || n < 1 || n > 253402300799 { // year 9999
		return time.Time{}, fmt.Errorf("claim %q is not a date", name)
	}
	whole, frac := math.Modf(n)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), nil
}

// checkText refuses what could be read as something else further on: control
// characters (header and log injection), and U+FFFD, which is what every broken
// encoding turns into, so that two different names would become one.
func checkText(name, s string) error {
	if len(s) > maxText {
		return fmt.Errorf("claim %q is longer than %d bytes", name, maxText)
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return fmt.Errorf("claim %q holds a control or undecodable character", name)
		}
	}
	return nil
}

// registered are the claims every signed token is judged by, decoded once.
type registered struct {
	issuer, subject, party, nonce, session, accessHash string
	audience                                           []string
	expires, issued, notBefore, authenticated          time.Time
}

func (c claimSet) registered() (r registered, err error) {
	var errs [10]error
	r.issuer, errs[0] = c.text("iss")
	r.subject, errs[1] = c.text("sub")
	r.party, errs[2] = c.text("azp")
	r.nonce, errs[3] = c.text("nonce")
	r.session, errs[4] = c.text("sid")
	r.audience, errs[5] = c.list("aud")
	r.expires, errs[6] = c.when("exp")
	r.issued, errs[7] = c.when("iat")
	r.notBefore, errs[8] = c.when("nbf")
	r.authenticated, errs[9] = c.when("auth_time")
	if err := errors.Join(errs[:]...); err != nil {
		return registered{}, err
	}
	r.accessHash, err = c.text("at_hash")
	return r, err
}

// validSubject accepts what OpenID Connect Core section 2 allows a sub to be: 1
// to 255 ASCII characters. Look-alikes and encodings cannot make two people one.
func validSubject(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
