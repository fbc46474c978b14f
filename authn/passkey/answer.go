package passkey

import (
	"encoding/json"
	"errors"

	"github.com/go-webauthn/webauthn/protocol"
)

// answer is the part of a browser's answer that is read. Safari and password managers add
// members, and fill those of the specification with other values (`appid: false`,
// `publicKey: null`, unknown transports). None of that is signed and no check uses it, so
// it is removed before the library, which has a type for each member, can refuse a person
// for it.
type answer struct {
	ID         json.RawMessage `json:"id,omitempty"`
	RawID      json.RawMessage `json:"rawId,omitempty"`
	Type       json.RawMessage `json:"type,omitempty"`
	Attachment string          `json:"authenticatorAttachment,omitempty"`
	Response   struct {
		ClientDataJSON    json.RawMessage `json:"clientDataJSON,omitempty"`
		AttestationObject json.RawMessage `json:"attestationObject,omitempty"`
		AuthenticatorData json.RawMessage `json:"authenticatorData,omitempty"` // of an assertion
		Signature         json.RawMessage `json:"signature,omitempty"`
		UserHandle        json.RawMessage `json:"userHandle,omitempty"`
		Transports        []string        `json:"transports,omitempty"`
	} `json:"response"`
}

// readAnswer takes from body the members that the ceremony needs. The library refuses
// those that have another type.
func readAnswer(ceremony protocol.CeremonyType, body []byte) ([]byte, error) {
	// The hints have a shape of their own, so that theirs cannot fail the rest.
	var a answer
	var in struct {
		ID, RawID, Type         json.RawMessage
		AuthenticatorAttachment json.RawMessage
		Response                *struct {
			ClientDataJSON, AttestationObject, AuthenticatorData, Signature, UserHandle json.RawMessage
			Transports                                                                  json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	if in.Response == nil {
		return nil, errors.New("no response")
	}
	a.ID, a.RawID, a.Type = in.ID, in.RawID, in.Type
	// A platform that knows neither of them says it in a word of its own.
	if json.Unmarshal(in.AuthenticatorAttachment, &a.Attachment) != nil || a.Attachment != string(protocol.Platform) && a.Attachment != string(protocol.CrossPlatform) {
		a.Attachment = ""
	}
	a.Response.ClientDataJSON = in.Response.ClientDataJSON
	if ceremony == protocol.CreateCeremony {
		a.Response.AttestationObject = in.Response.AttestationObject
		a.Response.Transports = words(in.Response.Transports)
	} else {
		a.Response.AuthenticatorData = in.Response.AuthenticatorData
		a.Response.Signature = in.Response.Signature
		a.Response.UserHandle = in.Response.UserHandle
	}
	return json.Marshal(a)
}

// IDOf is the credential id that an answer names, nil if it names none. It proves
// nothing.
func IDOf(body []byte) []byte {
	var a struct{ RawID protocol.URLEncodedBase64 }
	if json.Unmarshal(body, &a) != nil {
		return nil
	}
	return a.RawID
}

// words are the strings of what may be a list of them.
func words(list json.RawMessage) (out []string) {
	var all []any
	if json.Unmarshal(list, &all) != nil {
		return nil
	}
	for _, v := range all {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
