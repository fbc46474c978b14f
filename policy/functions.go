package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
)

// functions are what expressions can call besides CEL's own.
func functions() []expr.Function {
	z := vocabulary.NewZones()
	w := &withins{lists: map[string]expr.Bound{}}
	return []expr.Function{
		{Name: "ip.within", Params: []expr.Kind{expr.Strings, expr.String}, Result: expr.Bool,
			Reads: []string{"ip.address"}, Bind: w.bind},
		zoneFunction(z, "time.hour", expr.Int, func(t time.Time) any { return int64(t.Hour()) }),
		zoneFunction(z, "time.weekday", expr.String, func(t time.Time) any { return t.Weekday().String()[:3] }),
	}
}

// withins builds the address sets of ip.within, one for each list however many rules use
// it.
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
		prefix, err := ParseNetwork(entry)
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

// address returns the client address. Recorded facts that are judged again carry it as
// text only.
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

func zoneFunction(z *vocabulary.Zones, name string, result expr.Kind, of func(time.Time) any) expr.Function {
	return expr.Function{
		Name: name, Params: []expr.Kind{expr.String}, Result: result, Reads: []string{"time.now"}, Total: true,
		Bind: func(arg expr.Constant) (expr.Bound, error) {
			location, err := z.Load(arg.Strings[0])
			if err != nil {
				return nil, err
			}
			return func(facts any) (any, error) { return of(facts.(*Facts).Time.Now.In(location)), nil }, nil
		},
		Dynamic: func(facts, arg any) (any, error) {
			zoneName, _ := arg.(string)
			location, err := z.Load(zoneName)
			if err != nil {
				return nil, err
			}
			return of(facts.(*Facts).Time.Now.In(location)), nil
		},
	}
}
