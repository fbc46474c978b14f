package authntest

import "strings"

// IdPProfile is how a product describes people: which claims stand in its ID token and
// which in userinfo. Both functions change a claim set that has the registered claims
// already.
type IdPProfile struct {
	Name     string
	IDToken  func(claims map[string]any, p IdPPerson)
	Userinfo func(claims map[string]any, p IdPPerson)
	NoIss    bool // sends no iss parameter (RFC 9207)
}

// maxEntraGroups is how many groups Entra ID puts into a token (JWT).
const maxEntraGroups = 200

// IdPProfiles are the shapes that the products document, as they are without changes
// beyond those that their guide in examples/providers asks for.
func IdPProfiles() []IdPProfile {
	name := func(c map[string]any, p IdPPerson) { c["name"], c["preferred_username"] = p.Name, p.Email }
	standard := func(c map[string]any, p IdPPerson) {
		name(c, p)
		c["email"], c["email_verified"] = p.Email, p.Verified
	}
	return []IdPProfile{
		{Name: "entra-id", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				name(c, p)
				delete(c, "at_hash")
				c["oid"], c["tid"], c["ver"], c["uti"] = "00000000-aaaa-bbbb-cccc-"+p.Sub, "11111111-2222-3333-4444-555555555555", "2.0", "u"
				c["email"] = p.Email // an optional claim; there is no email_verified
				if len(p.Groups) <= maxEntraGroups {
					c["groups"] = p.Groups
					return
				}
				c["_claim_names"] = map[string]any{"groups": "src1"}
				c["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/11111111-2222-3333-4444-555555555555/users/" + p.Sub + "/getMemberObjects"}}
			},
			Userinfo: func(c map[string]any, p IdPPerson) {
				c["name"], c["email"], c["picture"] = p.Name, p.Email, "https://graph.microsoft.com/v1.0/me/photo/$value"
			}},
		{Name: "google-workspace", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				delete(c, "preferred_username")
				delete(c, "auth_time")
				delete(c, "sid")
				_, domain, _ := strings.Cut(p.Email, "@")
				c["azp"], c["hd"] = c["aud"], domain
			},
			Userinfo: func(c map[string]any, p IdPPerson) {
				c["email"], c["email_verified"], c["name"] = p.Email, p.Verified, p.Name
			}},
		{Name: "okta", NoIss: true, // a "thin" ID token: what the scopes ask for is in userinfo
			IDToken: func(c map[string]any, p IdPPerson) {
				delete(c, "sid")
				c["ver"], c["amr"], c["idp"], c["preferred_username"] = 1, []string{"pwd", "mfa"}, "00o1", p.Email
				if len(p.Groups) > 0 { // the claim is left out when the filter matches none
					c["groups"] = p.Groups
				}
			},
			Userinfo: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				c["zoneinfo"], c["locale"], c["updated_at"] = "America/Los_Angeles", "en_US", 1700000000
			}},
		{Name: "keycloak",
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				c["azp"], c["typ"], c["acr"], c["groups"] = c["aud"], "ID", "1", p.Groups
			},
			Userinfo: func(c map[string]any, p IdPPerson) { standard(c, p); c["groups"] = p.Groups }},
		{Name: "auth0", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				delete(c, "auth_time")
				c["nickname"], c["updated_at"] = "a", "2026-11-20T12:00:00.000Z"
				c["https://corp.example.com/groups"] = p.Groups
			},
			Userinfo: standard},
		{Name: "gitlab", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				delete(c, "sid")
				c["sub_legacy"], c["groups_direct"] = "legacy", p.Groups[:min(1, len(p.Groups))]
			},
			Userinfo: func(c map[string]any, p IdPPerson) { standard(c, p); c["groups"], c["sub_legacy"] = p.Groups, "legacy" }},
		{Name: "dex", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				delete(c, "auth_time")
				delete(c, "sid")
				c["groups"], c["c_hash"] = p.Groups, "x"
			},
			Userinfo: func(c map[string]any, p IdPPerson) { standard(c, p); c["groups"] = p.Groups }},
		{Name: "authentik", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				c["groups"], c["acr"], c["azp"], c["uid"] = p.Groups, "goauthentik.io/providers/oauth2/default", c["aud"], "u"
			},
			Userinfo: func(c map[string]any, p IdPPerson) { standard(c, p); c["groups"] = p.Groups }},
		{Name: "zitadel", NoIss: true,
			IDToken: func(c map[string]any, p IdPPerson) {
				standard(c, p)
				client := c["aud"]
				c["azp"], c["client_id"], c["amr"] = client, client, []string{"pwd", "mfa", "otp"}
				c["aud"] = []any{client, "234567890123456789"} // the project, too
				roles := map[string]any{}
				for _, g := range p.Groups {
					roles[g] = map[string]any{"345678901234567890": "corp.zitadel.cloud"}
				}
				if len(roles) > 0 {
					c["urn:zitadel:iam:org:project:roles"] = roles
					c["urn:zitadel:iam:org:project:234567890123456789:roles"] = roles
				}
			},
			Userinfo: standard},
	}
}
