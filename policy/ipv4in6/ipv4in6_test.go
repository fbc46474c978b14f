package ipv4in6

import (
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Every published form of 203.0.113.9 carries it: all that is known of it holds for each of these.
func TestEveryPublishedForm(t *testing.T) {
	for _, a := range []string{
		"::203.0.113.9",
		"::ffff:0:203.0.113.9",
		"64:ff9b::203.0.113.9",
		"2002:cb00:7109::",
		"2002:cb00:7109:dead:beef::1",
		"2001:0:c633:6401:0:0:34ff:8ef6",
		"3ffe:831f:c633:6401:8000:fff:34ff:8ef6",
		"2001:db8::5efe:203.0.113.9",
		"2001:db8::200:5efe:203.0.113.9",
		"2001:db8::100:5efe:203.0.113.9",
		"fe80::5efe:203.0.113.9",
		"2002:cb00:7109:0:0:5efe:198.51.100.1",
		"64:ff9b:1::203.0.113.9",
		"64:ff9b:1:aacb:0:7109::",
		"64:ff9b:1:1:cb:71:900:0",
		"64:ff9b:1:cb00:71:900::",
	} {
		var got []string
		for _, i := range Inner(addr(a)) {
			got = append(got, i.String())
		}
		if !strings.Contains(" "+strings.Join(got, " ")+" ", " 203.0.113.9 ") {
			t.Errorf("%s: %v does not hold 203.0.113.9", a, got)
		}
	}
	for _, a := range []string{"::", "::1", "2001:db8::1", "2606:4700::1", "203.0.113.9", "fd00::1", "fe80::1", "::ffff:203.0.113.9", "64:ff9b::", "2002::"} {
		if got := Inner(addr(a)); got != nil {
			t.Errorf("%s carries %v", a, got)
		}
	}
}

// The table of RFC 6052 section 2.4, for prefixes that are an operator's own.
func TestTranslatorPrefixes(t *testing.T) {
	for prefix, a := range map[string]string{
		"2001:db8::/32":         "2001:db8:c000:221::",
		"2001:db8:100::/40":     "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":     "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
		"64:ff9b:1:fffe::/64":   "64:ff9b:1:fffe:c0:2:2100:dead", // what follows is ignored, as the RFC says
	} {
		p := netip.MustParsePrefix(prefix)
		if got, ok := Under(p, addr(a)); !PrefixOK(p) || !ok || got != addr("192.0.2.33") {
			t.Errorf("%s: %s is %s", prefix, a, got)
		}
	}
	for _, bad := range []string{"2001:db8::/33", "2001:db8::/128", "192.0.2.0/24", "::ffff:192.0.2.0/96"} {
		if PrefixOK(netip.MustParsePrefix(bad)) {
			t.Error(bad)
		}
	}
	if _, ok := Under(netip.MustParsePrefix("2001:db8::/32"), addr("2001:db9:c000:221::")); ok {
		t.Error("an address elsewhere")
	}
}

// Who counts as one client: no form is a second budget, none merges strangers, and an identifier that the client
// chooses (ISATAP) is no one else's.
func TestWhoCountsAsOneClient(t *testing.T) {
	for a, want := range map[string]string{
		"203.0.113.9":                    "203.0.113.9/32",
		"::ffff:203.0.113.9":             "203.0.113.9/32",
		"2002:cb00:7109:1::1":            "203.0.113.9/32",
		"2001:0:c633:6401:0:0:34ff:8ef6": "203.0.113.9/32",
		"64:ff9b::203.0.113.9":           "203.0.113.9/32",
		"::ffff:0:203.0.113.9":           "203.0.113.9/32",
		"2001:db8::5efe:203.0.113.9":     "2001:db8::/64",
		"2001:db8:0:1::7%eth0":           "2001:db8:0:1::/64",
		"64:ff9b:1::203.0.113.9":         "64:ff9b:1::cb00:7109/128",
		"64:ff9b::10.0.0.1":              "64:ff9b::a00:1/128",
		"2002:a00:1:7::1":                "2002:a00:1:7::/64",
		"::1":                            "::1/128",
	} {
		if got := Key(addr(a)); got.String() != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if Key(netip.Addr{}).IsValid() {
		t.Error("the zero address is somebody's")
	}
}

func FuzzInner(f *testing.F) {
	f.Add(addr("2002:cb00:7109::1").AsSlice())
	f.Add(addr("64:ff9b:1:cb00:71:900::").AsSlice())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		seen := map[netip.Addr]bool{}
		for _, i := range Inner(Canonical(a)) {
			if !i.Is4() || i.IsUnspecified() || seen[i] {
				t.Fatalf("%s carries %s", a, i)
			}
			seen[i] = true
		}
		c := Client(a)
		if c.Is4In6() || c.Zone() != "" || Client(c) != c || !Key(a).Contains(c) || Key(c) != Key(a) {
			t.Fatalf("%s: client %s, key %s", a, c, Key(a))
		}
		if a.Is6() && c.Is4() && !a.Is4In6() && !seen[c] {
			t.Fatalf("%s is %s, which it does not carry", a, c)
		}
	})
}

// Behind an operator's own translator, each IPv4 address is one client, in every layout of RFC 6052; one that is not
// public is no one's elsewhere, and still one client.
func TestClientsBehindTranslators(t *testing.T) {
	var translators Translators
	for _, p := range []string{"2001:db8:6440::/96", "2001:db8:6400::/40", "2001:db8:6401::/48", "2001:db8:6402::/56", "2001:db8:6403::/64", "2a00:64::/32"} {
		translators = append(translators, netip.MustParsePrefix(p))
	}
	for a, want := range map[string]string{
		"2001:db8:6440::203.0.113.9":    "203.0.113.9/32",
		"2001:db8:6440::203.0.113.10":   "203.0.113.10/32",
		"2001:db8:64cb:71:9::":          "203.0.113.9/32",
		"2001:db8:6401:cb00:71:900::":   "203.0.113.9/32",
		"2001:db8:6402:cb:0:7109::":     "203.0.113.9/32",
		"2001:db8:6403:0:cb:71:900:0":   "203.0.113.9/32",
		"2a00:64:cb00:7109::":           "203.0.113.9/32",
		"2001:db8:6440::10.0.0.1":       "2001:db8:6440::a00:1/128",
		"2001:db8:6401:a00:0:100:0:7":   "2001:db8:6401:a00:0:100::/88",
		"2a00:64:a00:1:7::1":            "2a00:64:a00:1::/64",
		"2001:db8:7::203.0.113.9":       "2001:db8:7::/64",
		"64:ff9b::203.0.113.9":          "203.0.113.9/32",
		"2001:db8:6440::203.0.113.9%e0": "203.0.113.9/32",
	} {
		if got := translators.Key(addr(a)); got.String() != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if got := Translators(nil).Key(addr("2001:db8:6440::203.0.113.9")); got != Key(addr("2001:db8:6440::1")) {
		t.Errorf("without translators: %s", got)
	}
	if translators.Key(netip.Addr{}).IsValid() {
		t.Error("the zero address is somebody's")
	}
	if n := testing.AllocsPerRun(100, func() { translators.Key(addr4) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var addr4 = netip.MustParseAddr("2001:db8:6440::203.0.113.9")
