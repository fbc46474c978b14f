// Package whatif makes facts for questions: it reads recorded facts back from JSON, and
// changes single facts in the spelling of the command line (`policy explain --facts
// --set`).
//
// A value is checked like a constant in a rule: a fact that does not exist, or a value
// that it never has, is an error with what may have been meant. A record with a fact that
// this version does not know is an error too.
package whatif

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
	"sallyport/policy/ipv4in6"
	"sallyport/policy/strictyaml"
)

// Set changes one fact, named as in a rule ("seen.new_country"), to a value in the
// spelling of the command line: true, 42, 1200.5, US, 1h30m, 2026-01-31T09:00:00Z; a list
// as a,b or as JSON (["a", "b"]). With ip.address and ip.subdivisions go the facts that follow. The
// error says what was meant, or expected.
func Set(p *policy.Policy, f *policy.Facts, name, value string) error {
	s := setter{policy.FactSchema(), p.Vocabulary()}
	fact, ok := s.schema.Lookup(name)
	if !ok {
		return fmt.Errorf("there is no fact %s%s", policy.Printable(name), s.meant(name))
	}
	// A list is replaced and not written into: its old elements may belong to other facts.
	if err := s.set(fact, s.schema.Field(f, fact), value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch name {
	case "ip.address":
		deriveFromAddress(&f.IP)
	case "ip.subdivisions":
		f.IP.Region = ""
		f.IP.DeriveRegion()
	case "request.path":
		f.Request.PathFolded = "" // it follows when it is asked for
	}
	return nil
}

// setter knows the facts, and which values they can have.
type setter struct {
	schema *expr.Schema
	words  *vocabulary.Vocabulary
}

// meant finds the fact that a misspelt name is near to, or whose group was forgotten.
func (s *setter) meant(name string) string {
	var names []string
	for _, f := range s.schema.Facts() {
		if f.Field == name {
			return "; did you mean " + f.Name + "?"
		}
		names = append(names, f.Name)
	}
	if near := strictyaml.Nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	group, _, _ := strings.Cut(name, ".")
	var inGroup []string
	for _, f := range s.schema.Facts() {
		if f.Group == group {
			inGroup = append(inGroup, f.Name)
		}
	}
	if inGroup == nil {
		return "; the groups of facts are " + strings.Join(s.schema.Groups(), ", ")
	}
	return "; there are " + strings.Join(inGroup, ", ")
}

func (s *setter) set(fact expr.Fact, to reflect.Value, value string) error {
	switch fact.Kind {
	case expr.Bool, expr.Int, expr.Double:
		return s.setNumber(fact, to, value)
	case expr.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s, 5m or 1h30m", value)
		}
		to.SetInt(int64(d))
	case expr.Time:
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return fmt.Errorf("%q is not a time such as 2026-01-31T09:00:00Z", value)
		}
		to.Set(reflect.ValueOf(at))
	case expr.String:
		if err := s.can(fact, value); err != nil && value != "" {
			return err
		}
		to.SetString(value)
	case expr.Strings:
		list, err := listFrom(value)
		if err != nil {
			return err
		}
		for _, entry := range list {
			if err := s.can(fact, entry); err != nil {
				return err
			}
		}
		to.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("a value of type %s cannot be given here", fact.Kind)
	}
	return nil
}

func (s *setter) setNumber(fact expr.Fact, to reflect.Value, value string) error {
	var err error
	switch fact.Kind {
	case expr.Bool:
		switch value {
		case "true", "false":
			to.SetBool(value == "true")
		default:
			err = strconv.ErrSyntax
		}
	case expr.Int:
		var n int64
		if n, err = strconv.ParseInt(value, 10, 64); err == nil {
			to.SetInt(n)
			return s.can(fact, value)
		}
	default:
		var n float64
		if n, err = strconv.ParseFloat(value, 64); err == nil {
			to.SetFloat(n)
		}
	}
	if err != nil {
		return fmt.Errorf("%q is not of type %s", value, fact.Kind)
	}
	return nil
}

// can says so if a fact never has a value.
func (s *setter) can(fact expr.Fact, value string) error {
	d := s.words.Check(fact.Name, value)
	switch {
	case d == nil:
		return nil
	case d.Suggestion != "":
		return fmt.Errorf("%s; did you mean %s?", d.Message, d.Suggestion)
	}
	return fmt.Errorf("%s; expected: %s", d.Message, d.Expected)
}

func listFrom(value string) (list []string, err error) {
	if strings.HasPrefix(value, "[") {
		if err := json.Unmarshal([]byte(value), &list); err != nil {
			return nil, fmt.Errorf(`%q is not a list such as ["a", "b"]`, value)
		}
		return list, nil
	}
	if value == "" {
		return nil, nil
	}
	return strings.Split(value, ","), nil
}

// deriveFromAddress derives from the address what follows from it.
func deriveFromAddress(ip *policy.IP) {
	addr, err := netip.ParseAddr(ip.Address)
	if err != nil {
		return
	}
	ip.Addr, ip.Version = addr, 4
	if addr.Is6() {
		ip.Version = 6
	}
	ip.Private = ipv4in6.Private(addr)
	ip.Internal = ip.Internal && ip.Private
}

// ReadFacts reads facts as the audit log keeps them: their JSON, or a whole record with
// `facts` in it. What this version does not know is an error: a judgement without it
// would not be that of the record.
func ReadFacts(text []byte) (*policy.Facts, error) {
	var record struct {
		Facts json.RawMessage `json:"facts"`
	}
	in := json.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&record); err != nil {
		return nil, fmt.Errorf("these are no facts: %w", err)
	}
	if in.More() {
		return nil, errors.New("these are several records, or something comes after the facts: give one line of the log")
	}
	if record.Facts != nil {
		text = record.Facts
	}
	f := &policy.Facts{User: policy.User{HomeKM: -1}} // not known where it is not said: 0 is at home
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(f); err != nil {
		return nil, fmt.Errorf("these are no facts that this version knows: %w", err)
	}
	if addr, err := netip.ParseAddr(f.IP.Address); err == nil {
		f.IP.Addr = addr
	}
	f.IP.DeriveRegion() // a record of before there was the fact
	if f.Request.PathFolded == "" && f.Request.Path != "" {
		f.Request.PathFolded = policy.FoldPath(f.Request.Path)
	}
	return f, nil
}
