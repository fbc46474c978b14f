package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
)

// mistake is one way to get the configuration wrong: what is replaced in good, and
// what has to be said. The place counts in the changed text.
type mistake struct {
	name, old, new string
	line, column   int
	message        string
	expected       string
	suggestion     string
}

func (m mistake) text() string {
	if m.old == "" {
		return m.new
	}
	return strings.Replace(good, m.old, m.new, 1)
}

const (
	issuer   = "issuer: https://idp.example.com"
	external = "external_url: http://localhost:8080"
	from     = "from: http://tool.localhost:8080\n"
	allow    = "allow: {everyone: true}"
	to       = "to: http://127.0.0.1:3000"
	secret   = "client_secret_file: secret"
	session  = "session: {max_age: 8h}"
	proxies  = "trusted_proxies: [127.0.0.1]"
)

var mistakes = []mistake{
	// The file as such.
	{"empty", "", "", 1, 1, "empty", "sallyport init", ""},
	{"comment only", "", "# nothing\n", 1, 1, "empty", "sallyport init", ""},
	{"not YAML", session, "session: {max_age: 8h", 8, 7, "not YAML", "", ""},
	{"tab", session, "session:\n\tmax_age: 8h", 8, 1, "not YAML", "tabs", ""},
	{"second document", "routes:", "---\nroutes:", 8, 1, "more than one YAML document", "---", ""},
	{"list at the top", "", "- a\n", 1, 1, "the file is a list", "a mapping with the keys", ""},
	{"too deep", session, "session: " + strings.Repeat("[", 40), 7, 0, "not YAML", "", ""},
	{"too large", session, "contact: " + strings.Repeat("x", 1<<20), 1, 1, "bytes", "", ""},
	{"too many keys", session, strings.Repeat("k: 1\n", 60_000), 50_000, 1, "more than 100000 keys and values", "lists in files of their own", ""},
	{"too many values", session, "trusted_proxies: [" + strings.Repeat("1,", 200_000) + "]", 7, 0, "more than 100000 keys and values", "", ""},
	{"anchor", session, "session: &s {max_age: 8h}", 7, 10, "anchors and aliases", "the value itself", ""},
	{"alias", session, "contact: &c x\nforwarded_header: *c", 7, 10, "anchors and aliases", "", ""},
	{"anchored key", session, "&k session: {max_age: 8h}", 7, 1, "plain word", "", ""},
	{"merge key", session, "<<: {}", 7, 1, `no key "<<"`, "", ""},
	{"empty tag", "client_id: sallyport", "client_id: ! sallyport", 5, 14, "for a tag", "quotes", ""},
	{"tag", "client_id: sallyport", "client_id: !secret sallyport", 5, 14, "for a tag", "quotes", ""},

	// Keys and types.
	{"unknown key", session, "sesion: {max_age: 8h}", 7, 1, `no key "sesion" in the file`, "one of access_log, acme, audit, behavior, contact", "session"},
	{"unknown key inside", "client_id: sallyport", "client_ID: sallyport", 5, 3, `no key "client_ID" in oidc`, "client_id", "client_id"},
	{"unknown key in a route", from, "form: /\n", 10, 5, `no key "form" in routes[0]`, "", "from"},
	{"unknown key, nothing near", session, "elephants: 1", 7, 1, `no key "elephants"`, "", ""},
	{"duplicate key", session, "session: {max_age: 8h}\nsession: {max_age: 9h}", 8, 1, `"session" is given twice`, "each key once", ""},
	{"duplicate key inside", session, "session: {max_age: 8h, max_age: 9h}", 7, 24, "given twice in session", "", ""},
	{"no value", session, "session:", 7, 9, `"session" has no value`, "leave the key out", ""},
	{"null", session, "contact: ~", 7, 10, "has no value", "", ""},
	{"text for a mapping", session, "session: 8h", 7, 10, `session is "8h"`, "a mapping with the keys handoff, idle_timeout, max_age", ""},
	{"list for a mapping", session, "session: [8h]", 7, 10, "session is a list", "", ""},
	{"mapping for a list", proxies, "trusted_proxies: {a: b}", 2, 18, "trusted_proxies is a mapping", "a list", ""},
	{"mapping for a text", issuer, "issuer: {a: b}", 4, 11, "oidc.issuer is a mapping", "a single value", ""},
	{"bool for a text", issuer, "issuer: true", 4, 11, `oidc.issuer is "true"`, "a text", ""},
	{"null in a list", proxies, "trusted_proxies: [127.0.0.1, ]\ncontact: [~]", 3, 10, "contact is a list", "a single value", ""},
	{"not a duration", session, "session: {max_age: 8 hours}", 7, 20, `"8 hours" is not a duration`, "12h", "8h"},
	{"duration without unit", session, "session: {max_age: 8}", 7, 20, `"8" is not a duration`, "a number with a unit", ""},
	{"negative duration", session, "session: {max_age: -8h}", 7, 20, "not a duration", "", ""},
	{"not a bool", session, "proxy_protocol: yes", 7, 17, `proxy_protocol is "yes"`, "true or false", ""},
	{"not a number", session, "limits: {header_bytes: 16k}", 7, 24, `limits.header_bytes is "16k"`, "whole number of bytes", "16384"},

	// Environment.
	{"variable missing", issuer, "issuer: ${NO_SUCH_VARIABLE}", 4, 11, "NO_SUCH_VARIABLE is not set", "", ""},
	{"variable empty", issuer, "issuer: ${EMPTY_VARIABLE}", 4, 11, "EMPTY_VARIABLE is not set", "", ""},
	{"variable malformed", issuer, `issuer: "${NO-NAME}"`, 4, 11, "malformed variable", "${NAME}", ""},
	{"variable not allowed", secret, `client_secret_file: "${SECRET}"`, 6, 23, "not expanded in oidc.client_secret_file", "", ""},
	{"variable in a list that is not expanded", allow, `allow: {groups: ["${GROUP}"]}`, 12, 22, "not expanded in routes[0].allow.groups[0]", "", ""},

	// Listeners.
	{"listen", session, "listen: 8080", 7, 9, `"8080" is not an address to listen on`, "HOST:PORT", ""},
	{"listen port", session, "listen: 127.0.0.1:http", 7, 9, "not an address to listen on", "", ""},
	{"ops is data", session, "ops_listen: 127.0.0.1:8080", 7, 13, "the same as the data port", "", ""},
	{"ops hides data", session, "ops_listen: 0.0.0.0:8080", 7, 13, "the same as the data port", "", ""},
	{"open to the world", proxies, "listen: 0.0.0.0:8080", 2, 9, "without TLS and without a proxy", "trusted_proxies", ""},
	{"all addresses", proxies, "listen: :8080", 2, 9, "without TLS", "", ""},

	// Addresses.
	{"no external_url", external, "contact: us", 1, 1, "external_url is missing", "https://access.example.com", ""},
	{"external_url relative", external, "external_url: localhost", 1, 15, "not an absolute http or https URL", "", ""},
	{"external_url plain", external, "external_url: http://access.example.com", 1, 15, "need https", "https://access.example.com", ""},
	{"external_url address", external, "external_url: http://127.0.0.1:8080", 1, 15, "no passkeys on an IP address", "http://localhost", ""},
	{"external_url path", external, "external_url: http://localhost:8080/x", 1, 15, "has a path", "", ""},
	{"external_url of a malformed host", external, "external_url: https://access..example.com", 1, 15, "malformed host", "a DNS name", ""},
	{"external_url user", external, "external_url: http://u:p@localhost:8080", 1, 15, "more than a scheme", "", ""},
	{"https without TLS", external + "\n" + proxies, "external_url: https://access.example.com", 1, 15, "nothing here speaks TLS", "tls, or trusted_proxies", ""},
	{"trusted proxy name", proxies, "trusted_proxies: [10.0.0.1, lb.example.com]", 2, 29, `"lb.example.com" is not an address`, "CIDR", ""},
	{"trusted proxy unix", proxies, "trusted_proxies: [unix]", 2, 19, `"unix" is not an address`, "", ""},
	{"half of everybody trusted", proxies, "trusted_proxies: [128.0.0.0/1]", 2, 19, "a large part of the Internet", "your own proxies", ""},
	{"everybody trusted", proxies, "trusted_proxies: [0.0.0.0/0]", 2, 19, "", "your own proxies", ""},
	{"internal network that is public", proxies, "internal_networks: [203.0.113.0/24]", 2, 21, "not a private network", "ip.within(lists.NAME)", ""},
	{"internal network that is wider than private", proxies, "internal_networks: [10.0.0.0/7]", 2, 21, "not a private network", "private networks only", ""},
	{"internal network of proxies", proxies, "trusted_proxies: [10.0.0.0/8]\ninternal_networks: [10.20.0.0/16]", 3, 21, "is in trusted_proxies", "the proxies alone", ""},
	{"internal network name", proxies, "internal_networks: [office]", 2, 21, "not an address or a network", "10.20.0.0/16", ""},
	{"forwarded header", session, "forwarded_header: x-real-ip", 7, 19, "no forwarding header", "x-forwarded-for, forwarded", ""},
	{"PROXY protocol from nobody", proxies, "proxy_protocol: true", 2, 17, "no peer is trusted", "trusted_proxies", ""},

	// TLS.
	{"tls on plain http", session, "tls: {cert_file: one.crt, key_file: one.key}", 7, 6, "plain http", "https external_url", ""},
	{"tls without key", session, "tls: {cert_file: one.crt}", 7, 6, "tls.key_file is missing", "PEM", ""},
	{"tls file missing", session, "tls: {cert_file: none.crt, key_file: one.key}", 7, 18, "there is no file", "PEM", ""},
	{"tls files of two pairs", session, "tls: {cert_file: one.crt, key_file: two.key}", 7, 6, "private key does not match", "private key of its first certificate", ""},
	{"tls not PEM", session, "tls: {cert_file: secret, key_file: one.key}", 7, 6, "PEM", "", ""},

	// Identity.
	{"no issuer", issuer, "scopes: [openid]", 4, 3, "oidc.issuer is missing", "discovery document", ""},
	{"plain issuer", issuer, "issuer: http://idp.example.com", 4, 11, "unprotected", "https issuer", ""},
	{"issuer as consoles show it", issuer, "issuer: https://idp.example.com/realms/x/.well-known/openid-configuration", 4, 11, "address of a discovery document", "before /.well-known", ""},
	{"issuer with a query", issuer, "issuer: https://idp.example.com/?x", 4, 11, "not an issuer URL", "", ""},
	{"no client_id", "  client_id: sallyport\n", "", 4, 3, "oidc.client_id is missing", "", ""},
	{"no secret", "  " + secret + "\n", "", 4, 3, "oidc.client_secret_file is missing", "", ""},
	{"client_auth unknown", secret, secret + "\n  client_auth: client_secret_basic", 7, 16, "no way of client authentication", "private_key_jwt", ""},
	{"key without private_key_jwt", secret, secret + "\n  client_key_file: key.pem", 7, 20, "client_auth: private_key_jwt only", "", ""},
	{"private_key_jwt without key", secret, "client_auth: private_key_jwt", 4, 3, "oidc.client_key_file is missing", "PEM", ""},
	{"private_key_jwt with a secret", secret, secret + "\n  client_auth: private_key_jwt\n  client_key_file: one.key", 6, 23, "there is no secret", "client_key_file alone", ""},
	{"key that is none", secret, "client_auth: private_key_jwt\n  client_key_file: secret", 7, 20, "no private key in PEM form", "", ""},
	{"email_claim alone", secret, secret + "\n  email_claim: upn", 7, 16, "no one could sign in", "email_verified: issuer", ""},
	{"email_claim as JSONPath", secret, secret + "\n  email_claim: $.mail\n  email_verified: issuer", 7, 16, "is no claim", "realm_access.roles", ""},
	{"email_verified as a bool", secret, secret + "\n  email_verified: true", 7, 19, "oidc.email_verified is \"true\"", "a text", ""},
	{"email_verified unknown", secret, secret + "\n  email_verified: provider", 7, 19, "does not say who vouches", "issuer", ""},
	{"groups_format unknown", secret, secret + "\n  groups_format: csv", 7, 18, "no way to write groups down", "commas", ""},
	{"groups_claim with a space", secret, secret + "\n  groups_claim: 'groups '", 7, 17, "is no claim", "", ""},
	{"groups_claim with nothing between two dots", secret, secret + "\n  groups_claim: realm_access..roles", 7, 17, "is no claim", "realm_access.roles", ""},
	{"groups_endpoint in clear text", secret, secret + "\n  groups_endpoint: http://graph.example.com/x", 7, 20, "an access token would go to", "https URL", ""},
	{"authorization_params as a list", secret, secret + "\n  authorization_params: [prompt]", 7, 25, "oidc.authorization_params is a list", "{name: value}", ""},
	{"authorization_params with state", secret, secret + "\n  authorization_params: {state: x}", 7, 33, "state is set by Sallyport", "access_type", ""},
	{"authorization_params with scope", secret, secret + "\n  authorization_params: {scope: x}", 7, 33, "scopes have a key of their own", "oidc.scopes", ""},
	{"authorization_params twice", secret, secret + "\n  authorization_params: {hd: a, hd: b}", 7, 33, "given twice", "", ""},
	{"prompt none", secret, secret + "\n  authorization_params: {prompt: none}", 7, 34, "people cannot sign in", "select_account", ""},
	{"secret not there", secret, "client_secret_file: none", 6, 23, "there is no file", "client secret and nothing else", ""},
	{"secret is a folder", secret, "client_secret_file: folder", 6, 23, "not a regular file", "", ""},
	{"secret is a device", secret, "client_secret_file: /dev/zero", 6, 23, "not a regular file", "", ""},
	{"secret empty", secret, "client_secret_file: blank", 6, 23, "is empty", "", ""},
	{"secret with more in it", secret, "client_secret_file: lines", 6, 23, "several lines", "", ""},
	{"secret in the file itself", secret, "client_secret: hunter2", 6, 3, `no key "client_secret"`, "client_secret_file", "client_secret_file"},
	{"no openid scope", issuer, issuer + "\n  scopes: [email]", 5, 11, "scope openid is missing", "", ""},
	{"refresh too often", issuer, issuer + "\n  refresh_interval: 1s", 5, 21, "too often", "10s or more", ""},
	{"rp_id of somebody else", session, "webauthn: {rp_id: example.com}", 7, 19, "browsers refuse passkeys", "localhost or a parent", ""},
	{"session too long", session, "session: {max_age: 9000h}", 7, 20, "not a sensible lifetime", "10s to 720h", ""},
	{"no way to hand over", session, "session: {handoff: get}", 7, 20, "is not a way to hand a session over", "auto (the default), or post", ""},
	{"idle beyond max", session, "session: {max_age: 1h, idle_timeout: 2h}", 7, 38, "longer than max_age", "10s to 1h", ""},

	// State and files.
	{"postgres", session, "store: postgres://u:hunter2@db/sallyport", 7, 8, "PostgreSQL is not supported by this version", "sqlite:PATH", ""},
	{"store", session, "store: state.db", 7, 8, "not a store", "sqlite:PATH", ""},
	{"store without path", session, "store: 'sqlite:'", 7, 8, "not a store", "", ""},
	{"audit is a folder", session, "audit: {file: folder}", 7, 15, "not a regular file", "", ""},
	{"audit is the store", session, "store: sqlite:x\naudit: {file: x}", 8, 15, "the store is the same file", "", ""},
	{"audit is the policy", session, "audit: {file: policy.yaml}", 7, 15, "another file of the configuration: policy", "a file of its own", ""},
	{"audit is the secret", session, "audit: {file: ./secret}", 7, 15, "another file of the configuration: oidc.client_secret_file", "a file of its own", ""},
	{"audit is a link to the roster", session, "roster: people.csv\naudit: {file: folder/link}", 8, 15, "another file of the configuration: roster", "", ""},
	{"store is the configuration", session, "store: sqlite:sallyport.yaml", 7, 8, "another file of the configuration: the configuration itself", "", ""},
	{"store is a list", session, "store: sqlite:vpn.txt\nip_data: {lists: [{name: a, file: vpn.txt}]}", 7, 8, "another file of the configuration: ip_data.lists[0].file", "", ""},
	{"store in memory", session, "store: 'sqlite::memory:'", 7, 8, "not a store", "sqlite:PATH", ""},
	{"allow a pattern of addresses", allow, "allow: {emails: ['*@x.com']}", 12, 22, "no pattern", "domains: [x.com]", ""},
	{"allow a group of nothing", allow, "allow: {groups: [' ']}", 12, 22, "empty group", "", ""},
	{"guard without percent", session, "policy_guard: {max_newly_blocked: 10}", 7, 35, "not a share of the people", "10%", "10%"},
	{"guard beyond everybody", session, "policy_guard: {max_newly_blocked: 101%}", 7, 35, "not a share of the people", "", ""},
	{"guard of no number", session, "policy_guard: {max_newly_blocked: NaN%}", 7, 35, "not a share of the people", "", ""},
	{"guard for a year", session, "policy_guard: {days: 365}", 7, 22, "out of range", "live sessions alone", ""},
	{"policy missing", session, "policy: none.yaml", 7, 9, "there is no file", "sallyport init", ""},
	{"roster missing", session, "roster: none.csv", 7, 9, "there is no file", "email,countries,timezone", ""},

	// IP data.
	{"database missing", session, "ip_data: {databases: [db.mmdb, none.mmdb]}", 7, 32, "there is no file", "mmdb", ""},
	{"database twice", session, "ip_data: {databases: [db.mmdb, ./db.mmdb]}", 7, 32, "configured twice", "", ""},
	{"list without name", session, "ip_data: {lists: [{file: vpn.txt}]}", 7, 19, "ip_data.lists[0].name is missing", "", ""},
	{"list name", session, "ip_data: {lists: [{name: VPN, file: vpn.txt}]}", 7, 26, `"VPN" cannot name a list`, "lower-case", ""},
	{"two lists", session, "ip_data: {lists: [{name: a, file: vpn.txt}, {name: a, file: vpn.txt}]}", 7, 52, `two lists with the name "a"`, "", ""},
	{"signal", session, "ip_data: {lists: [{name: a, signal: vnp, file: vpn.txt}]}", 7, 37, `no signal "vnp"`, "vpn, hosting", "vpn"},
	{"format", session, "ip_data: {lists: [{name: a, format: azur, file: vpn.txt}]}", 7, 37, `no format "azur"`, "cidr", "azure"},
	{"stated without columns", session, "ip_data: {lists: [{name: a, file: vpn.txt, stated: true}]}", 7, 52, "states nothing but its networks", "format: csv", ""},
	{"share without percent", session, "ip_data: {lists: [{name: a, file: vpn.txt, max_share: 0.5}]}", 7, 55, "not a share of the addresses", "15% is the default", ""},
	{"share of nothing", session, "ip_data: {lists: [{name: a, file: vpn.txt, max_share: 0%}]}", 7, 55, "not a share of the addresses", "", ""},
	{"share beyond everything", session, "ip_data: {lists: [{name: a, file: vpn.txt, max_share: 101%}]}", 7, 55, "not a share of the addresses", "", ""},
	{"NAT64 of no length", session, "ip_data: {translators: [2001:db8::/95]}", 7, 25, "not the prefix of a NAT64", "/96", ""},
	{"NAT64 of IPv4", session, "ip_data: {translators: [10.0.0.0/8]}", 7, 25, "not the prefix of a NAT64", "", ""},
	{"household", session, "behavior: {household: 32}", 7, 23, "no network of a household", "56", ""},
	{"list without file", session, "ip_data: {lists: [{name: a}]}", 7, 19, "file is missing", "", ""},

	// Routes.
	{"no routes", good[strings.Index(good, "routes:"):], "", 1, 1, "no route", "at least one route", ""},
	{"empty routes", good[strings.Index(good, "routes:"):], "routes: []", 8, 9, "no route", "", ""},
	{"route without name", "- name: tool", "- body_bytes: 1", 9, 5, "routes[0].name is missing", "", ""},
	{"route name", "name: tool", "name: Tool!", 9, 11, "cannot name a route", "", ""},
	{"no from", "    " + from, "", 9, 5, "routes[0].from is missing", "", ""},
	{"no to", "    " + to + "\n", "", 9, 5, "leads nowhere", "http://127.0.0.1:3000", ""},
	{"to with a path", to, to + "/x", 11, 9, "has a path", "keep their path", ""},
	{"to, second of a list", to, "to: [http://127.0.0.1:3000, 'ftp://x']", 11, 33, "not an absolute http or https URL", "", ""},
	{"to the same twice", to, "to: [http://127.0.0.1:3000, http://127.0.0.1:3000]", 11, 33, "routes[0].to[1]: ", "each upstream once", ""},
	{"to a socket of no folder", to, "to: unix:rel", 11, 9, "routes[0].to[0]: ", "the URL of the tool", ""},
	{"to a port that cannot be", to, "to: https://h:99999", 11, 9, "routes[0].to[0]: ", "the URL of the tool", ""},
	{"two mistakes of a route", allow, allow + "\n    upgrades: [websocket, h2c]\n    health: {path: x}", 13, 27, "would tunnel", "names of protocols", ""},
	{"health in the second mistake", allow, allow + "\n    health: {path: /a, timeout: 5s, interval: 1s}", 13, 33, "no longer than the interval", "no longer", ""},
	{"to itself", to, "to: http://127.0.0.1:8080", 11, 9, "back to Sallyport itself", "", ""},
	{"from a query", from, "from: http://tool.localhost:8080/?x\n", 10, 11, "more than a scheme, a host and a path", "", ""},
	{"from without a scheme", from, "from: //tool.localhost:8080\n", 10, 11, "not an absolute http or https URL", "", ""},
	{"from a host that browsers read as an address", from, "from: http://0x7f.1:8080\n", 10, 11, "malformed host", "a DNS name", ""},
	{"from a host of several scripts", from, "from: http://tоol.localhost:8080\n", 10, 11, "malformed host", "xn--", ""},
	{"from another scheme", from, "from: https://tool.localhost\n", 10, 11, "scheme of external_url", "http://tool.localhost", ""},
	{"from plain", from, "from: http://tool.example.com\n", 10, 11, "session cookies need https", "", ""},
	{"from below our pages", from, "from: http://tool.localhost:8080/.sallyport/x\n", 10, 11, "reserved", "", ""},
	{"from with an encoded slash", from, "from: http://tool.localhost:8080/a%2Fb\n", 10, 11, "encoded slash", "", ""},
	{"no allow", "    " + allow + "\n", "", 9, 5, `route "tool" does not say who may use it`, "everyone: true", ""},
	{"allow nobody", allow, "allow: {groups: []}", 12, 12, "allow names no one", "", ""},
	{"allow both", allow, "allow: {everyone: true, groups: [a]}", 12, 12, "contradict", "", ""},
	{"allow email", allow, "allow: {emails: [alice]}", 12, 22, "not an e-mail address", "", ""},
	{"allow domain", allow, "allow: {domains: ['*.example.com']}", 12, 23, "is not a domain", "example.com", ""},
	{"allow empty group", allow, "allow: {groups: ['']}", 12, 22, "empty group", "", ""},
	{"limits", session, "limits: {header_bytes: 10}", 7, 24, "out of range", "4096", ""},
	{"retention too short", session, "behavior: {retention: 24h}", 7, 23, "24h0m0s is out of range", "30 days", ""},
	{"retention in days", session, "behavior: {retention: 400d}", 7, 23, "not a duration", "12h", "9600h"},
	{"addresses outlive the rest", session, "behavior: {retention: 800h, raw_addresses: 900h}", 7, 44, "longer than the rest", "800h", ""},
	{"no office", session, "behavior: {offices: [203.0.113.0/28, Berlin]}", 7, 38, `"Berlin" is not an address`, "203.0.113.0/28", ""},
	{"half the Internet as an office", session, "behavior: {offices: [128.0.0.0/1]}", 7, 22, "large part of the Internet", "", ""},
	{"office that is more than IPv4", session, "behavior: {offices: ['::ffff:0:0/90']}", 7, 22, "is not an address or a network", "", ""},
	{"half of IPv4 as a proxy", proxies, "trusted_proxies: ['::ffff:0:0/97']", 2, 19, "large part of the Internet", "", ""},
	{"proxies with people among them", proxies, "trusted_proxies: ['::ffff:10.0.0.0/104']\ninternal_networks: [10.20.0.0/16]", 3, 21, "is in trusted_proxies", "", ""},
	{"ASN by name", session, "behavior: {mobile_asns: [Vodafone]}", 7, 26, `"Vodafone" is not the number`, "AS64500", ""},
	{"ASN 0", session, "behavior: {satellite_asns: [AS0]}", 7, 29, `"AS0" is not the number`, "", ""},
	{"behaviour key", session, "behavior: {office: []}", 7, 12, `no key "office" in behavior`, "", "offices"},
	{
		"two routes for one place", allow, allow + "\n  - name: other\n    from: http://TOOL.localhost.:8080/\n    to: http://127.0.0.1:3001\n    allow: {everyone: true}",
		14, 11, `both serve http://tool.localhost:8080/`, "of its own", "",
	},
	{
		"two routes of a name", allow, allow + "\n  - name: tool\n    from: http://tool.localhost:8080/b\n    to: http://127.0.0.1:3001\n    allow: {everyone: true}",
		13, 11, "two routes with the name", "", "",
	},
}

func TestMistakes(t *testing.T) {
	dir := folder(t)
	t.Setenv("EMPTY_VARIABLE", "")
	write(t, filepath.Join(dir, "sallyport.yaml"), good)
	if err := os.Symlink("../people.csv", filepath.Join(dir, "folder", "link")); err != nil {
		t.Fatal(err)
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			text := m.text()
			if text == good {
				t.Fatal("the test changes nothing")
			}
			_, err := config.Parse("sallyport.yaml", dir, []byte(text))
			found, ok := errors.AsType[policy.Diagnostics](err)
			if !ok {
				t.Fatalf("accepted, or %T: %v", err, err)
			}
			d := found[0]
			for _, other := range found {
				if strings.Contains(other.Message, m.message) {
					d = other
					break
				}
			}
			if d.File != "sallyport.yaml" || d.Line != m.line || m.column > 0 && d.Column != m.column {
				t.Errorf("at %s:%d:%d, want %d:%d", d.File, d.Line, d.Column, m.line, m.column)
			}
			if !strings.Contains(d.Message, m.message) || !strings.Contains(d.Expected, m.expected) || d.Suggestion != m.suggestion {
				t.Errorf("%s\nwant %q, expected %q, suggestion %q", err, m.message, m.expected, m.suggestion)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the message repeats a password")
			}
		})
	}
}

func TestAllMistakesAreReportedInOrder(t *testing.T) {
	text := strings.NewReplacer(issuer, "isuer: x", session, "sesion: {}", from, "form: /\n").Replace(good)
	_, err := config.Parse("sallyport.yaml", folder(t), []byte(text))
	found, _ := errors.AsType[policy.Diagnostics](err)
	var lines []int
	for _, d := range found {
		lines = append(lines, d.Line)
	}
	if d := cmp.Diff([]int{4, 7, 10}, lines); d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if want := "sallyport.yaml:7:1: there is no key \"sesion\" in the file\n    7 | sesion: ...\n      | ^\n"; !strings.Contains(err.Error(), want) {
		t.Errorf("%s\nlacks\n%s", err, want)
	}
}

func TestMistakesAreBounded(t *testing.T) {
	var b strings.Builder
	for range 40_000 {
		b.WriteString(`"x\e[2J": 1` + "\n") // YAML's escape for what clears a screen
	}
	for name, text := range map[string]string{"many lines": b.String(), "one line": "{" + strings.ReplaceAll(b.String(), "\n", ",") + "}"} {
		_, err := config.Parse("sallyport.yaml", t.TempDir(), []byte(text))
		if err == nil || len(err.Error()) > 64<<10 || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %d bytes", name, len(err.Error()))
		}
		if want := "and 39950 more mistakes"; !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: it ends %q, want %q", name, err.Error()[max(0, len(err.Error())-60):], want)
		}
	}
}
