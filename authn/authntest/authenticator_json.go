package authntest

import (
	"encoding/base64"
	"encoding/json"
)

// b64 is bytes as WebAuthn's JSON writes them.
type b64 []byte

func (b b64) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(b))
}

func (b *b64) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	out, err := base64.RawURLEncoding.DecodeString(s)
	*b = out
	return err
}

type descriptor struct {
	Type string `json:"type"`
	ID   b64    `json:"id"`
}

type creationOptions struct {
	RP   struct{ ID, Name string } `json:"rp"`
	User struct {
		ID   b64    `json:"id"`
		Name string `json:"name"`
	} `json:"user"`
	Challenge b64 `json:"challenge"`
	Params    []struct {
		Alg int `json:"alg"`
	} `json:"pubKeyCredParams"`
	Exclude     []descriptor   `json:"excludeCredentials"`
	Attestation string         `json:"attestation"`
	Extensions  map[string]any `json:"extensions"`
}

type requestOptions struct {
	RPID      string       `json:"rpId"`
	Challenge b64          `json:"challenge"`
	Allow     []descriptor `json:"allowCredentials"`
}

// toJSON is PublicKeyCredential.toJSON (section 5.1).
func (a *Authenticator) toJSON(id []byte, extensions, response map[string]any) ([]byte, error) {
	attachment := a.Attachment
	if attachment == "" {
		attachment = "platform"
	}
	for name, v := range a.Lie.Extensions {
		extensions[name] = v
	}
	return json.Marshal(map[string]any{
		"id": b64(id), "rawId": b64(id), "type": "public-key",
		"authenticatorAttachment": attachment,
		"clientExtensionResults":  extensions,
		"response":                response,
	})
}
