package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a policy means the same on a machine without a zone database

	"github.com/gaissmai/bart"

	"sallyport/policy/internal/expr"
)

// functions are what expressions can call besides CEL's own.
func functions() []expr.Function {
	z := &zones{known: map[string]zone{}}
	w := &withins{lists: map[string]expr.Bound{}}
	return []expr.Function{
		{Name: "ip.within", Params: []expr.Kind{expr.Strings, expr.String}, Result: expr.Bool,
			Reads: []string{"ip.address"}, Bind: w.bind},
		z.function("time.hour", expr.Int, func(t time.Time) any { return int64(t.Hour()) }),
		z.function("time.weekday", expr.String, func(t time.Time) any { return t.Weekday().String()[:3] }),
	}
}

// withins builds the address sets of ip.within, one for each list however many rules use it.
type withins struct{ lists map[string]expr.Bound }

func (w *withins) bind(arg expr.Constant) (expr.Bound, error) {
	if b, ok := w.lists[arg.List]; ok && arg.List != "" {
		return b, nil
	}
	if len(arg.Ints) > 0 {
		return nil, fmt.Errorf("ip.within() takes addresses and networks; lists.%s is a list of numbers", arg.List)
	}
	var set bart.Lite
	for i, entry := range arg.Strings {
		prefix, err := parseNetwork(entry)
		if err != nil {
			return nil, &expr.EntryError{Entry: i, Err: err}
		}
		set.Insert(prefix)
	}
	b := func(facts any) (any, error) {
		addr, err := address(facts.(*Facts))
		if err != nil {
			return nil, err
		}
		return set.Contains(addr), nil
	}
	if arg.List != "" {
		w.lists[arg.List] = b
	}
	return b, nil
}

// parseNetwork reads an address or a network in CIDR notation.
func parseNetwork(entry string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone; ip.within() takes addresses without one", entry)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network (ip.within() takes 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32)", entry)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network written as IPv6; client addresses are never mapped, so write it as IPv4", entry)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length: is it %s, or the one address %s?", entry, prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

// address returns the client address. Recorded facts that are judged again carry it as text only.
func address(f *Facts) (netip.Addr, error) {
	if f.IP.Addr.IsValid() {
		return f.IP.Addr.Unmap().WithZone(""), nil
	}
	addr, err := netip.ParseAddr(f.IP.Address)
	if err != nil {
		return addr, errors.New("ip.within() without a client address")
	}
	return addr.Unmap().WithZone(""), nil
}

// zones remembers time zones: loading one reads a file, which a request must not wait for twice.
type zones struct {
	mu    sync.RWMutex
	known map[string]zone
}

type zone struct {
	location *time.Location
	err      error
}

// maxZones bounds what is remembered; the zone database has about 600 names.
const maxZones = 1000

func (z *zones) load(name string) (*time.Location, error) {
	z.mu.RLock()
	have, ok := z.known[name]
	z.mu.RUnlock()
	if ok {
		return have.location, have.err
	}
	// "" and "Local" would mean the proxy's own zone: not the same on two machines.
	if name == "" || name == "Local" {
		have.err = fmt.Errorf("%q is not a time zone", name)
	} else if have.location, have.err = time.LoadLocation(name); have.err != nil {
		have.err = fmt.Errorf("there is no time zone %q (an IANA name such as \"Europe/Zurich\" or \"UTC\")", name)
		if near := nearestZone(name); near != "" {
			have.err = fmt.Errorf("there is no time zone %q; did you mean %q?", name, near)
		}
	}
	z.mu.Lock()
	if len(z.known) < maxZones {
		z.known[name] = have
	}
	z.mu.Unlock()
	return have.location, have.err
}

// nearestZone returns the zone that a name spells in its own way (europe/zurich, "America/New York"), or "".
func nearestZone(name string) string {
	plain := strings.ReplaceAll(foldText(strings.TrimSpace(name)), " ", "_")
	title := []byte(plain)
	for i := range title {
		if i == 0 || strings.IndexByte("/_-", title[i-1]) >= 0 {
			title[i] = strings.ToUpper(plain)[i]
		}
	}
	for _, try := range []string{string(title), strings.ToUpper(plain)} {
		if try != name && try != "" && !strings.HasPrefix(try, "/") {
			if _, err := time.LoadLocation(try); err == nil {
				return try
			}
		}
	}
	return ""
}

func (z *zones) function(name string, result expr.Kind, of func(time.Time) any) expr.Function {
	return expr.Function{
		Name: name, Params: []expr.Kind{expr.String}, Result: result, Reads: []string{"time.now"}, Total: true,
		Bind: func(arg expr.Constant) (expr.Bound, error) {
			location, err := z.load(arg.Strings[0])
			if err != nil {
				return nil, err
			}
			return func(facts any) (any, error) { return of(facts.(*Facts).Time.Now.In(location)), nil }, nil
		},
		Dynamic: func(facts, arg any) (any, error) {
			zoneName, _ := arg.(string)
			location, err := z.load(zoneName)
			if err != nil {
				return nil, err
			}
			return of(facts.(*Facts).Time.Now.In(location)), nil
		},
	}
}
