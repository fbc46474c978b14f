package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// GroupsFormat is how a provider writes down who belongs to what.
type GroupsFormat string

// The formats that providers use.
const (
	GroupsList   GroupsFormat = ""       // a list of strings, or one string that is one group
	GroupsKeys   GroupsFormat = "keys"   // an object whose member names are the groups (Zitadel's roles)
	GroupsCommas GroupsFormat = "commas" // one string, commas or semicolons between groups
	GroupsSpaces GroupsFormat = "spaces" // one string, spaces between groups
)

// Codes of [Notice]. They appear in sign-in records and are never renamed.
const (
	NoticeGroupsAbsent    = "groups_absent"
	NoticeGroupsObject    = "groups_object"
	NoticeGroupsOneString = "groups_one_string"
	NoticeGroupsOverage   = "groups_overage"
	NoticeEmailAssumed    = "email_verified_assumed"
)

// Notice is what the operator should know of a provider's answer although the person
// was not refused for it.
type Notice struct {
	Code string // one of the Notice constants
	Text string // names the setting that changes it; holds no token
}

// groups returns the person's groups, and the oddities of the claims that name them.
func (p *Provider) groups(ctx context.Context, id, info claimSet, accessToken string) ([]string, []Notice, error) {
	claim := p.cfg.GroupsClaim
	from := firstOf(id, info, claim)
	raw := from.value(claim)
	if raw == nil && (overage(id, claim) || overage(info, claim)) {
		return p.overflowing(ctx, accessToken)
	}
	values, notices, err := p.readGroups(from, raw)
	if err != nil {
		return nil, nil, refuse(CodeClaimMalformed, "%w", err)
	}
	return distinct(values), notices, nil
}

func (p *Provider) readGroups(from claimSet, raw json.RawMessage) ([]string, []Notice, error) {
	claim := p.cfg.GroupsClaim
	switch {
	case raw == nil:
		return nil, []Notice{{NoticeGroupsAbsent, fmt.Sprintf("neither the ID token nor userinfo has the claim %q: oidc.groups_claim, oidc.scopes, or a mapper at the provider", claim)}}, nil
	case raw[0] == '{':
		return p.groupsOfObject(raw)
	case raw[0] == '"' && p.cfg.GroupsFormat != GroupsList && p.cfg.GroupsFormat != GroupsKeys:
		text, err := from.text(claim)
		return p.split(text), nil, err
	}
	values, err := from.list(claim)
	if err == nil && raw[0] == '"' && strings.ContainsAny(values[0], ",; ") {
		return values, []Notice{{NoticeGroupsOneString, fmt.Sprintf("the claim %q is one string with separators and counts as one group: oidc.groups_format: commas, or spaces", claim)}}, nil
	}
	return values, nil, err
}

// split takes apart a string that lists groups.
func (p *Provider) split(text string) []string {
	if p.cfg.GroupsFormat == GroupsSpaces {
		return strings.Fields(text)
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' })
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// groupsOfObject returns the member names, if the operator said that they are groups:
// in another provider's object they could be anything ("admin": false).
func (p *Provider) groupsOfObject(raw json.RawMessage) ([]string, []Notice, error) {
	claim := p.cfg.GroupsClaim
	if p.cfg.GroupsFormat != GroupsKeys {
		return nil, []Notice{{NoticeGroupsObject, fmt.Sprintf("the claim %q is an object, of which no group is taken: name the list inside it in oidc.groups_claim (as in realm_access.roles), or say oidc.groups_format: keys", claim)}}, nil
	}
	var object claimSet
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, nil, fmt.Errorf("claim %q: %w", claim, err)
	}
	names := slices.Sorted(maps.Keys(object))
	if len(names) > maxListed {
		return nil, nil, fmt.Errorf("claim %q holds %d values, more than %d", claim, len(names), maxListed)
	}
	for _, name := range names {
		if err := checkText(claim, name); err != nil {
			return nil, nil, err
		}
	}
	return names, nil, nil
}

// overage reports whether the provider left the groups out because there are too many
// of them. Entra ID does so above 200, in either of two ways (OpenID Connect Core
// section 5.6.2 and its own hasgroups).
func overage(c claimSet, claim string) bool {
	var elsewhere claimSet
	if names := c.value("_claim_names"); names != nil && json.Unmarshal(names, &elsewhere) == nil && elsewhere.has(claim) {
		return true
	}
	return c.truth("hasgroups")
}

// overflowing asks the configured endpoint for groups that did not fit into the token.
// The address in the token is not used: the access token goes where the operator
// said, and Entra ID still names an interface that is switched off.
func (p *Provider) overflowing(ctx context.Context, accessToken string) ([]string, []Notice, error) {
	if p.cfg.GroupsEndpoint == "" {
		return nil, []Notice{{NoticeGroupsOverage, "the person has more groups than the provider puts into a token, and none arrived: set oidc.groups_endpoint, or let the provider send only the groups that are assigned to this application"}}, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.GroupsEndpoint, strings.NewReader(`{"securityEnabledOnly":false}`))
	if err != nil {
		return nil, nil, unavailable(errors.New("groups endpoint: malformed address"))
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, unavailable(fmt.Errorf("groups endpoint: %w", network(err)))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body) // bounded by the client
	switch {
	case err != nil:
		return nil, nil, unavailable(fmt.Errorf("groups endpoint: %w", network(err)))
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, []Notice{{NoticeGroupsOverage, fmt.Sprintf("the groups endpoint answered %d: grant the application the right to read memberships (User.Read of Microsoft Graph), and add it to oidc.scopes", resp.StatusCode)}}, nil
	case resp.StatusCode != http.StatusOK:
		return nil, nil, unavailable(fmt.Errorf("groups endpoint answered %d", resp.StatusCode))
	}
	var all claimSet
	if err := json.Unmarshal(bytes.TrimSpace(body), &all); err != nil {
		return nil, nil, refuse(CodeClaimMalformed, "groups endpoint: %w", err)
	}
	values, err := all.list("value")
	switch {
	case !all.has("value"): // absent is not empty
		return nil, nil, refuse(CodeClaimMalformed, "groups endpoint answers without `value`: is oidc.groups_endpoint the address of getMemberObjects?")
	case err != nil:
		return nil, nil, refuse(CodeClaimMalformed, "groups endpoint: %w", err)
	case all.has("@odata.nextLink"):
		return nil, nil, refuse(CodeClaimMalformed, "groups endpoint answers in pages, of which only the first was read: use getMemberObjects")
	}
	return distinct(values), nil, nil
}
