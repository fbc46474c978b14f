package vocabulary

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

// Vocabulary is what one installation can say. Nil for a part of it means that it is not
// known, and then that part is not checked.
type Vocabulary struct {
	routes  []string
	signals map[string]bool // that the configured IP sources provide
	lists   map[string]bool // that ip.lists can hold
	enums   map[string][]string
	zones   *Zones
}

// New returns the vocabulary of an installation with these routes, IP signals and names
// of address lists.
func New(routes []string, signals, lists map[string]bool) *Vocabulary {
	return &Vocabulary{routes: routes, signals: signals, lists: lists, zones: NewZones(), enums: map[string][]string{
		"ip.version":       {"4", "6"},
		"session.level":    {"none", "signed_in", "verified"},
		"credential.class": {"none", "synced", "unattested", "attested"},
		"request.purpose":  {"access", "sign_in", "enroll", "step_up"},
		"time.weekday":     {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"},
	}}
}

// Routes are the names of all routes; nil: not known.
func (v *Vocabulary) Routes() []string { return v.routes }

// Lists are all names that ip.lists can hold, sorted; nil: not known.
func (v *Vocabulary) Lists() []string {
	if v.lists == nil {
		return nil
	}
	return append([]string{}, slices.Sorted(maps.Keys(v.lists))...)
}

// Provides reports whether a configured IP source provides a signal. It is false where
// that is not known.
func (v *Vocabulary) Provides(signal string) bool { return v.signals[signal] }

// Enum are the values of a fact that has few of them; nil for other facts.
func (v *Vocabulary) Enum(fact string) []string { return v.enums[fact] }

// Range returns the least and the most that a numeric fact can be, where facts.go says
// so: whole numbers, nanoseconds, or whole parts of a double.
func Range(fact string) (least, most int64, ok bool) {
	r, ok := ranges[fact]
	return r[0], r[1], ok
}

// Patterns of facts that are codes.
var (
	SubdivisionPattern = regexp.MustCompile(`^[A-Z]{2}-[A-Z0-9]{1,3}$`)
	AAGUIDPattern      = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Signals are the ip facts that exist only if a source provides them.
var Signals = []string{"country", "subdivisions", "asn", "org", "provider", "vpn", "hosting", "tor", "proxy", "residential_proxy", "relay"}

// restOn says what facts elsewhere need of the IP sources.
var restOn = map[string]string{
	"seen.countries_1h": "country", "seen.countries_24h": "country", "seen.new_country": "country", "session.country_changed": "country",
	"seen.asns_24h": "asn", "seen.new_asn": "asn", "session.asn_changed": "asn",
	"ip.region": "subdivisions", "travel.known": "location", "travel.distance_km": "location", "travel.speed_kmh": "location",
	"user.home_km":    "location",
	"handoff.country": "country", "handoff.asn": "asn", "handoff.same_provider": "asn",
	"browser.timezone_known": "country", "browser.timezone_offset_diff": "country",
}

// ranges are the least and the most that numeric facts can be.
var ranges = map[string][2]int64{
	"ip.asn":                      {0, math.MaxInt64},
	"ip.data_age_hours":           {0, math.MaxInt64},
	"user.started_days":           {-1, math.MaxInt64},
	"session.age":                 {0, math.MaxInt64},
	"session.concurrent":          {0, math.MaxInt64},
	"credential.age":              {0, math.MaxInt64},
	"seen.countries_1h":           {0, math.MaxInt64},
	"seen.countries_24h":          {0, math.MaxInt64},
	"seen.asns_24h":               {0, math.MaxInt64},
	"seen.prefixes_24h":           {0, math.MaxInt64},
	"seen.first_days":             {0, math.MaxInt64},
	"travel.distance_km":          {0, math.MaxInt64},
	"travel.speed_kmh":            {0, math.MaxInt64},
	"address.people_30d":          {0, math.MaxInt64},
	"device.people_30d":           {0, math.MaxInt64},
	"user.devices_30d":            {-1, 65},
	"user.home_km":                {-1, 20_015}, // half of the way around
	"seen.abandoned_step_ups_24h": {0, 64},
	"address.enrolments_30d":      {0, math.MaxInt64},
	"device.enrolments_30d":       {0, math.MaxInt64},
	"activity.usual_hours":        {-1, 100},
	"activity.active_hours_24h":   {0, 24},
	"activity.longest_break_48h":  {0, int64(48 * time.Hour)},
}

// Provided says so if no configured source can answer for a fact.
func (v *Vocabulary) Provided(fact string) *file.Diagnostic {
	group, signal, _ := strings.Cut(fact, ".")
	if rest := restOn[fact]; rest != "" {
		signal = rest
	} else if group != "ip" || !slices.Contains(Signals, signal) {
		return nil
	}
	if v.signals == nil || v.signals[signal] {
		return nil
	}
	d := &file.Diagnostic{Message: fmt.Sprintf("no configured IP source provides %s: it would always be what it is where that is not known", fact),
		Expected: fmt.Sprintf("a database or a list with `signal: %s` under ip_data in sallyport.yaml", signal)}
	switch signal {
	case "subdivisions":
		d.Expected = "a database under ip_data in sallyport.yaml that knows the subdivisions of countries, or a csv list with the column `subdivision`"
	case "org":
		d.Expected = "a database under ip_data in sallyport.yaml that knows the organisations of networks, or a csv list with the column `org`"
	case "provider":
		d.Expected = "a database under ip_data in sallyport.yaml that names the operators of VPNs (GeoIP Anonymous-Plus, IPinfo privacy), a list with `provider: NAME`, or a csv list with the column `provider`"
	case "country", "asn", "location":
		d.Expected = "a database under ip_data in sallyport.yaml that knows the " + signal + " of addresses"
		if group != "ip" {
			d.Message = fmt.Sprintf("no configured IP source provides the %s of addresses, so %s would never be known", signal, fact)
		}
	}
	return d
}

// Route says so if there is no route of a name.
func (v *Vocabulary) Route(name string) *file.Diagnostic {
	if v.routes == nil || slices.Contains(v.routes, name) {
		return nil
	}
	return &file.Diagnostic{Message: fmt.Sprintf("there is no route %q", name), Expected: OneOf(v.routes),
		Suggestion: strictyaml.Nearest(name, v.routes)}
}

// Check says so if the subject (a fact, an entry of it, or a function) can never be
// value.
func (v *Vocabulary) Check(subject, value string) *file.Diagnostic {
	if enum := v.enums[subject]; enum != nil {
		return inEnum(subject, value, enum)
	}
	switch subject {
	case "ip.country", "user.countries", "handoff.country":
		return checkCountry(subject, value)
	case "ip.region", "user.region":
		if value != "" && !SubdivisionPattern.MatchString(value) {
			return never(subject, value, `an ISO 3166-2 code such as "UA-43"`, subdivisionMeant(value), SubdivisionPattern.MatchString)
		}
	case "ip.subdivisions":
		if !SubdivisionPattern.MatchString(value) {
			return never(subject, value, `an ISO 3166-2 code such as "UA-43"`, subdivisionMeant(value), SubdivisionPattern.MatchString)
		}
	case "ip.address":
		if a, err := netip.ParseAddr(value); err != nil || a.Unmap().String() != value {
			if p, err := netip.ParsePrefix(value); err == nil {
				return never(subject, value, fmt.Sprintf("ip.within(%q): the fact is one address, and not a network", p.Masked()), "", nil)
			}
			return never(subject, value, "one address in its shortest spelling; for networks there is ip.within(...)", "", nil)
		}
	case "ip.lists":
		if v.lists != nil && !v.lists[value] {
			known := v.Lists()
			return &file.Diagnostic{Message: fmt.Sprintf("there is no address list %q, so this would never hold", value),
				Expected: OneOf(known), Suggestion: strictyaml.Nearest(value, known)}
		}
	case "user.email":
		if !IsEmail(value) {
			_, err := authn.ParseEmail(value)
			meant := strings.ToLower(strings.TrimSpace(value))
			expected := "a whole address in lower case"
			if err != nil {
				expected += ", in letters, digits and signs of ASCII, without spaces"
			}
			return never(subject, value, expected, meant, IsEmail)
		}
	case "credential.aaguid":
		if !AAGUIDPattern.MatchString(value) {
			return never(subject, value, "a UUID in lower case", strings.ToLower(value), AAGUIDPattern.MatchString)
		}
	case "request.route":
		if value != "" { // the sign-in pages
			return v.Route(value)
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
		if _, err := v.zones.Load(value); value != "" && err != nil {
			d := never(subject, value, `the IANA name of a time zone, as it is spelled there, such as "Europe/Zurich" or "UTC"`, "", nil)
			d.Suggestion = nearestZone(value)
			return d
		}
	case "request.path", "request.path_folded":
		if !strings.HasPrefix(value, "/") {
			path := value
			if _, rest, ok := strings.Cut(value, "://"); ok {
				_, path, _ = strings.Cut(rest, "/") // behind the host
			}
			return never(subject, value, "a path that begins with /", "/"+path, nil)
		}
	case "time.hour":
		if hour, err := strconv.Atoi(value); err != nil || hour < 0 || hour > 23 {
			return never(subject, value, "0 to 23", "", nil)
		}
	}
	return nil
}

// IsEmail reports whether user.email can be a text: it has the addresses that sign-in
// accepts, as it writes them, and "" without a session.
func IsEmail(text string) bool {
	email, err := authn.ParseEmail(text)
	return text == "" || err == nil && string(email) == text
}

func inEnum(subject, value string, enum []string) *file.Diagnostic {
	if slices.Contains(enum, value) {
		return nil
	}
	near := strictyaml.Nearest(value, enum)
	if near == "" && len(value) > 3 { // Monday
		near = strictyaml.Nearest(value[:3], enum)
	}
	return &file.Diagnostic{Message: fmt.Sprintf("%s is never %q", subject, value), Expected: OneOf(enum), Suggestion: near}
}

// never is the diagnostic for a value that a subject cannot have; suggestion is used if
// it is a value that fits.
func never(subject, value, expected, suggestion string, fits func(string) bool) *file.Diagnostic {
	d := &file.Diagnostic{Message: fmt.Sprintf("%s is never %q", subject, value), Expected: expected}
	if suggestion != value && (fits == nil || fits(suggestion)) {
		d.Suggestion = suggestion
	}
	return d
}

// OneOf lists what was expected.
func OneOf(names []string) string {
	if len(names) == 0 {
		return "none is configured"
	}
	if len(names) > 24 {
		return "one of " + strings.Join(names[:24], ", ") + ", ..."
	}
	return "one of " + strings.Join(names, ", ")
}
