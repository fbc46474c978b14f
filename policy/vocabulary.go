package policy

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/policy/internal/expr"
)

// vocabulary knows which values facts can have at all. A rule that compares a fact with
// anything else never matches, and that is how a typing mistake in an embargo list would
// otherwise show: not at all.
type vocabulary struct {
	routes   []string
	provides *Provides
	enums    map[string][]string
	zones    *zones
}

func newVocabulary(c Config) *vocabulary {
	v := &vocabulary{routes: c.Routes, provides: c.Provides, zones: &zones{known: map[string]zone{}}, enums: map[string][]string{
		"ip.version":       {"4", "6"},
		"session.level":    {"none", "signed_in", "verified"},
		"credential.class": {"none", "synced", "unattested", "attested"},
		"request.purpose":  {PurposeAccess, PurposeSignIn, PurposeEnroll, PurposeStepUp},
		"time.weekday":     {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"},
	}}
	return v
}

var (
	subdivisionPattern = regexp.MustCompile(`^[A-Z]{2}-[A-Z0-9]{1,3}$`)
	aaguidPattern      = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// signals are the ip facts that exist only if a source provides them.
var signals = []string{"country", "subdivisions", "asn", "org", "vpn", "hosting", "tor", "proxy", "residential_proxy", "relay"}

// restOn says what facts elsewhere need of the IP sources.
var restOn = map[string]string{
	"seen.countries_1h": "country", "seen.countries_24h": "country", "seen.new_country": "country", "session.country_changed": "country",
	"seen.asns_24h": "asn", "seen.new_asn": "asn", "session.asn_changed": "asn",
	"travel.known": "location", "travel.distance_km": "location", "travel.speed_kmh": "location",
	"handoff.country": "country", "handoff.asn": "asn", "handoff.same_provider": "asn",
	"browser.timezone_known": "country", "browser.timezone_offset_diff": "country",
}

// ranges are the least and the most that numeric facts can be.
var ranges = map[string][2]int64{
	"ip.asn":                     {0, math.MaxInt64},
	"ip.data_age_hours":          {0, math.MaxInt64},
	"user.started_days":          {-1, math.MaxInt64},
	"session.age":                {0, math.MaxInt64},
	"session.concurrent":         {0, math.MaxInt64},
	"credential.age":             {0, math.MaxInt64},
	"seen.countries_1h":          {0, math.MaxInt64},
	"seen.countries_24h":         {0, math.MaxInt64},
	"seen.asns_24h":              {0, math.MaxInt64},
	"seen.prefixes_24h":          {0, math.MaxInt64},
	"seen.first_days":            {0, math.MaxInt64},
	"travel.distance_km":         {0, math.MaxInt64},
	"travel.speed_kmh":           {0, math.MaxInt64},
	"address.people_30d":         {0, math.MaxInt64},
	"device.people_30d":          {0, math.MaxInt64},
	"activity.active_hours_24h":  {0, 24},
	"activity.longest_break_48h": {0, int64(48 * time.Hour)},
}

// provided says so if no configured source can answer for a fact.
func (v *vocabulary) provided(fact string) *Diagnostic {
	group, signal, _ := strings.Cut(fact, ".")
	if rest := restOn[fact]; rest != "" {
		signal = rest
	} else if group != "ip" || !slices.Contains(signals, signal) {
		return nil
	}
	if v.provides == nil || v.provides.Signals == nil || v.provides.Signals[signal] {
		return nil
	}
	d := &Diagnostic{Message: fmt.Sprintf("no configured IP source provides %s, so this would never hold", fact),
		Expected: fmt.Sprintf("a database or a list with `signal: %s` under ip_data in sallyport.yaml", signal)}
	switch signal {
	case "country", "asn", "location":
		d.Expected = "a database under ip_data in sallyport.yaml that knows the " + signal + " of addresses"
		if group != "ip" {
			d.Message = fmt.Sprintf("no configured IP source provides the %s of addresses, so %s would never be known", signal, fact)
		}
	}
	return d
}

func (v *vocabulary) route(name string) *Diagnostic {
	if v.routes == nil || slices.Contains(v.routes, name) {
		return nil
	}
	return &Diagnostic{Message: fmt.Sprintf("there is no route %q", name), Expected: oneOf(v.routes),
		Suggestion: expr.Nearest(name, v.routes)}
}

// check says so if the subject (a fact, an entry of it, or a function) can never be value.
func (v *vocabulary) check(subject, value string) *Diagnostic {
	if enum := v.enums[subject]; enum != nil {
		return inEnum(subject, value, enum)
	}
	switch subject {
	case "ip.country", "user.countries", "handoff.country":
		return checkCountry(subject, value)
	case "ip.subdivisions":
		if !subdivisionPattern.MatchString(value) {
			return never(subject, value, `an ISO 3166-2 code such as "UA-43"`, strings.ToUpper(value), subdivisionPattern.MatchString)
		}
	case "ip.address":
		if a, err := netip.ParseAddr(value); err != nil || a.Unmap().String() != value {
			return never(subject, value, "one address in its shortest spelling; for networks there is ip.within(...)", "", nil)
		}
	case "ip.lists":
		if v.provides != nil && v.provides.Lists != nil && !v.provides.Lists[value] {
			known := make([]string, 0, len(v.provides.Lists))
			for l := range v.provides.Lists {
				known = append(known, l)
			}
			slices.Sort(known)
			return &Diagnostic{Message: fmt.Sprintf("there is no address list %q, so this would never hold", value),
				Expected: oneOf(known), Suggestion: expr.Nearest(value, known)}
		}
	case "user.email":
		if value != "" && !strings.Contains(value, "@") || value != strings.ToLower(value) {
			return never(subject, value, "a whole address in lower case", strings.ToLower(value), func(s string) bool { return strings.Contains(s, "@") })
		}
	case "credential.aaguid":
		if !aaguidPattern.MatchString(value) {
			return never(subject, value, "a UUID in lower case", strings.ToLower(value), aaguidPattern.MatchString)
		}
	case "request.route":
		if value != "" { // the sign-in pages
			return v.route(value)
		}
	case "request.method":
		if value != strings.ToUpper(value) {
			return never(subject, value, "a method in upper case", strings.ToUpper(value), nil)
		}
	case "request.host", "handoff.host":
		if host := bareHost(value); host != value {
			return never(subject, value, "a host name in lower case, without scheme, port and path", host, isHost)
		}
	case "user.time_zone":
		if _, err := v.zones.load(value); value != "" && err != nil {
			d := never(subject, value, `the IANA name of a time zone, as it is spelled there, such as "Europe/Zurich" or "UTC"`, "", nil)
			d.Suggestion = nearestZone(value)
			return d
		}
	case "request.path", "request.path_folded":
		if !strings.HasPrefix(value, "/") {
			return never(subject, value, "a path that begins with /", "/"+value, nil)
		}
	case "time.hour":
		if hour, err := strconv.Atoi(value); err != nil || hour < 0 || hour > 23 {
			return never(subject, value, "0 to 23", "", nil)
		}
	}
	return nil
}

func inEnum(subject, value string, enum []string) *Diagnostic {
	if slices.Contains(enum, value) {
		return nil
	}
	near := expr.Nearest(value, enum)
	if near == "" && len(value) > 3 { // Monday
		near = expr.Nearest(value[:3], enum)
	}
	return &Diagnostic{Message: fmt.Sprintf("%s is never %q", subject, value), Expected: oneOf(enum), Suggestion: near}
}

// never is the diagnostic for a value that a subject cannot have; suggestion is used if it is a value
// that fits.
func never(subject, value, expected, suggestion string, fits func(string) bool) *Diagnostic {
	d := &Diagnostic{Message: fmt.Sprintf("%s is never %q", subject, value), Expected: expected}
	if suggestion != value && (fits == nil || fits(suggestion)) {
		d.Suggestion = suggestion
	}
	return d
}

func oneOf(names []string) string {
	if len(names) == 0 {
		return "none is configured"
	}
	if len(names) > 24 {
		return "one of " + strings.Join(names[:24], ", ") + ", ..."
	}
	return "one of " + strings.Join(names, ", ")
}
