package rollout

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/policy"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
)

// decoder reads decisions from lines of the audit log. Nearly all of them have the form in
// which the log writes them: names in the order of the structs, no spaces, no escapes.
// Those it reads by itself, several times as fast as a library. Any other line is left to
// [readRecord], which says what a line means: the two are held against each other in a
// test. What a line has beside the decision is passed over, not checked.
//
// It is not safe for concurrent use.
type decoder struct {
	since  time.Time
	top    []topSlot
	groups []groupSlot
	names  []string // of the facts, by the number of their slot
	known  []int    // the version that each came with

	rec     rehearse.Recorded // the decision that is read; the slots point into it
	event   string
	action  string
	now     string // the text of rec.Time, which mostly is facts.time.now as well
	version int64
	facts   bool
	present []bool // by slot

	s       string // the line
	i       int    // how much of it is read
	strings []string
}

// topSlot is a key of a record; read is nil where the value is passed over.
type topSlot struct {
	key  string // with quotes and colon
	read func(*decoder) bool
}

// groupSlot is a group of facts.
type groupSlot struct {
	key   string
	slots []slot
}

// slot is where a fact goes: a pointer of one of the kinds that facts have.
type slot struct {
	key    string
	number int
	to     any
}

var (
	errNotOurs = errors.New("not in the form that the log is written in")
	errBefore  = errors.New("before the time asked for")
)

// newDecoder reads decisions that were made at since or later.
func newDecoder(since time.Time) *decoder {
	d := &decoder{since: since, top: topSlots()}
	facts := reflect.ValueOf(&d.rec.Facts).Elem()
	for group, v := range facts.Fields() {
		g := groupSlot{key: keyOf(group)}
		for field, v := range v.Fields() {
			// What no rule can name is read by the library.
			name := field.Tag.Get("cel")
			if name == "" || name == "-" || keyOf(field) == "" {
				continue
			}
			name = group.Tag.Get("cel") + "." + name
			g.slots = append(g.slots, slot{key: keyOf(field), number: len(d.known), to: v.Addr().Interface()})
			d.names, d.known = append(d.names, name), append(d.known, policy.Since(name))
		}
		d.groups = append(d.groups, g)
	}
	d.present = make([]bool, len(d.known))
	return d
}

// keyOf is how a field stands in JSON; "" if it does not.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || name == "" {
		return ""
	}
	return `"` + name + `":`
}

// topSlots are the keys of a record in the order in which they are written.
func topSlots() []topSlot {
	text := func(to func(*decoder) *string) func(*decoder) bool {
		return func(d *decoder) bool { return d.text(to(d)) }
	}
	read := map[string]func(*decoder) bool{
		`"seq":`:           func(d *decoder) bool { return d.int(&d.rec.Seq) },
		`"count":`:         func(d *decoder) bool { return d.int(&d.rec.Count) },
		`"facts_version":`: func(d *decoder) bool { return d.int(&d.version) },
		`"event":`:         text(func(d *decoder) *string { return &d.event }),
		`"user":`:          text(func(d *decoder) *string { return &d.rec.User }),
		`"action":`:        text(func(d *decoder) *string { return &d.action }),
		`"policy":`:        text(func(d *decoder) *string { return &d.rec.Policy }),
		`"incident":`:      text(func(d *decoder) *string { return &d.rec.Incident }),
		`"rules":`:         func(d *decoder) bool { return d.list(&d.rec.Rules) },
		`"time":`:          func(d *decoder) bool { return d.text(&d.now) && parseTime(d.now, &d.rec.Time) },
		`"facts":`:         (*decoder).readFacts,
		`"excepted":`:      func(*decoder) bool { return false }, // rare: left to the library
	}
	first := []string{`"seq":`, `"time":`, `"count":`} // see audit: these are put before the rest
	keys := slices.Clone(first)
	for f := range reflect.TypeFor[audit.Record]().Fields() {
		if key := keyOf(f); key != "" && !slices.Contains(first, key) {
			keys = append(keys, key)
		}
	}
	slots := make([]topSlot, len(keys))
	for i, key := range keys {
		slots[i] = topSlot{key, read[key]}
	}
	return slots
}

// decode reads one line. What it returns is valid until the next call; its texts are parts
// of line.
func (d *decoder) decode(line string) (*rehearse.Recorded, error) {
	err := d.ours(line)
	if !errors.Is(err, errNotOurs) {
		return &d.rec, err
	}
	return readRecord([]byte(line), d.names)
}

func (d *decoder) ours(line string) error {
	if !plain(line) {
		return errNotOurs
	}
	d.rec = rehearse.Recorded{}
	d.s, d.i, d.facts, d.version, d.event, d.action, d.now = line, 0, false, 0, "", "", ""
	if !d.next('{') {
		return errNotOurs
	}
	for i := 0; ; {
		for i < len(d.top) && !d.key(d.top[i].key) {
			i++
		}
		if i == len(d.top) {
			return errNotOurs
		}
		if read := d.top[i].read; read == nil && !d.skip() || read != nil && !read(d) {
			return errNotOurs
		}
		if d.top[i].key == `"event":` { // the time came before it
			switch {
			case !slices.Contains(JudgedEvents, d.event):
				return errNoDecision
			case d.rec.Time.Before(d.since):
				return errBefore
			}
		}
		i++
		if d.next(',') {
			continue
		}
		if d.next('}') && d.i == len(line) && d.event != "" {
			return d.finish()
		}
		return errNotOurs
	}
}

// finish fills in what JSON does not carry, and says what the record lacks.
func (d *decoder) finish() error {
	if !d.facts {
		return errNoFacts
	}
	switch d.action { // the texts of policy.Action
	case "allow":
		d.rec.Action = policy.Allow
	case "step_up":
		d.rec.Action = policy.StepUp
	case "block":
		d.rec.Action = policy.Block
	default:
		return errNotOurs
	}
	d.rec.Facts.IP.Addr, _ = netip.ParseAddr(d.rec.Facts.IP.Address)
	if d.version < policy.FactsVersion {
		d.rec.Facts.IP.DeriveRegion()
		for i, since := range d.known {
			// The region follows from what every record has; see rehearse.Lacking.
			if since > max(1, int(d.version)) && !d.present[i] && d.names[i] != "ip.region" {
				d.rec.Lacking = append(d.rec.Lacking, d.names[i])
			}
		}
	}
	return nil
}

// readFacts reads the groups, and the facts in each, in the order of the structs.
func (d *decoder) readFacts() bool {
	d.facts = true
	clear(d.present)
	if !d.next('{') {
		return false
	}
	if d.next('}') {
		return true
	}
	for i := range d.groups {
		if !d.key(d.groups[i].key) {
			continue
		}
		if !d.readGroup(d.groups[i].slots) {
			return false
		}
		if !d.next(',') {
			return d.next('}')
		}
	}
	return false
}

func (d *decoder) readGroup(slots []slot) bool {
	if !d.next('{') {
		return false
	}
	if d.next('}') {
		return true
	}
	for i := range slots {
		s := &slots[i]
		if !d.key(s.key) {
			continue
		}
		d.present[s.number] = true
		if !d.value(s.to) {
			return false
		}
		if !d.next(',') {
			return d.next('}')
		}
	}
	return false
}

func (d *decoder) value(to any) bool {
	switch to := to.(type) {
	case *string:
		return d.text(to)
	case *bool:
		if *to = d.key("true"); *to {
			return true
		}
		return d.key("false")
	case *int64:
		return d.int(to)
	case *time.Duration:
		return d.int((*int64)(to))
	case *float64:
		return d.float(to)
	case *[]string:
		return d.list(to)
	case *[]int64:
		return d.intList(to)
	case *time.Time:
		var text string
		if !d.text(&text) {
			return false
		}
		if text == d.now && text != "" {
			*to = d.rec.Time
			return true
		}
		return parseTime(text, to)
	}
	return false
}

func (d *decoder) next(c byte) bool {
	if d.i < len(d.s) && d.s[d.i] == c {
		d.i++
		return true
	}
	return false
}

// key takes a text of at least two letters that comes next, as it stands.
func (d *decoder) key(text string) bool {
	// The second letter tells most of them apart, the first being a quotation mark.
	if end := d.i + len(text); end <= len(d.s) && d.s[d.i+1] == text[1] && d.s[d.i:end] == text {
		d.i = end
		return true
	}
	return false
}

// text reads a string. The line has no escapes.
func (d *decoder) text(to *string) bool {
	if !d.next('"') {
		return false
	}
	n := strings.IndexByte(d.s[d.i:], '"')
	if n < 0 {
		return false
	}
	*to = d.s[d.i : d.i+n]
	d.i += n + 1
	return true
}

// int reads a whole number of at most 18 digits.
func (d *decoder) int(to *int64) bool {
	negative := d.next('-')
	begin, n := d.i, int64(0)
	for d.i < len(d.s) && d.s[d.i]-'0' <= 9 {
		n = 10*n + int64(d.s[d.i]-'0')
		d.i++
	}
	digits := d.i - begin
	if digits == 0 || digits > 18 || digits > 1 && d.s[begin] == '0' || d.i < len(d.s) && strings.IndexByte(".eE", d.s[d.i]) >= 0 {
		return false
	}
	if negative {
		n = -n
	}
	*to = n
	return true
}

func (d *decoder) float(to *float64) bool {
	begin := d.i
	for d.i < len(d.s) && strings.IndexByte("+-.eE0123456789", d.s[d.i]) >= 0 {
		d.i++
	}
	number := d.s[begin:d.i]
	whole, part, fraction := strings.Cut(strings.TrimPrefix(number, "-"), ".")
	if whole == "" || whole[0]-'0' > 9 || len(whole) > 1 && whole[0] == '0' && whole[1]-'0' <= 9 || fraction && (part == "" || part[0]-'0' > 9) {
		return false
	}
	var err error
	*to, err = strconv.ParseFloat(number, 64)
	return err == nil
}

// arena is how many texts of lists are made at a time.
const arena = 1024

func (d *decoder) list(to *[]string) bool {
	if !d.next('[') {
		return false
	}
	begin := len(d.strings)
	if d.next(']') {
		*to = []string{}
		return true
	}
	for {
		if len(d.strings) == cap(d.strings) { // what is out stays with those who have it
			d.strings = append(make([]string, 0, arena+len(d.strings)-begin), d.strings[begin:]...)
			begin = 0
		}
		d.strings = d.strings[:len(d.strings)+1]
		if !d.text(&d.strings[len(d.strings)-1]) {
			return false
		}
		if d.next(']') {
			*to = d.strings[begin:len(d.strings):len(d.strings)]
			return true
		}
		if !d.next(',') {
			return false
		}
	}
}

func (d *decoder) intList(to *[]int64) bool {
	if !d.next('[') {
		return false
	}
	list := []int64{}
	for !d.next(']') {
		var n int64
		if len(list) > 0 && !d.next(',') || !d.int(&n) {
			return false
		}
		list = append(list, n)
	}
	*to = list
	return true
}

// skip passes over a value.
func (d *decoder) skip() bool {
	for depth := 0; d.i < len(d.s); {
		switch c := d.s[d.i]; c {
		case '"':
			var text string
			if !d.text(&text) {
				return false
			}
		case '{', '[':
			depth++
			d.i++
		case '}', ']':
			if depth--; depth < 0 {
				return false
			}
			d.i++
		case ',', ':':
			if depth == 0 {
				return false
			}
			d.i++
			continue
		default: // a number or a word
			for d.i < len(d.s) && strings.IndexByte(",:]}", d.s[d.i]) < 0 {
				d.i++
			}
		}
		if depth == 0 {
			return true
		}
	}
	return false
}

func parseTime(text string, to *time.Time) bool {
	// UnmarshalText would take an hour of one digit.
	return len(text) > 16 && text[13] == ':' && text[16] == ':' && to.UnmarshalText([]byte(text)) == nil
}

// plain reports whether a line holds no escape, no control character, nothing that was
// cut short, and is UTF-8. It looks at eight bytes at a time.
func plain(line string) bool {
	if strings.IndexByte(line, '\\') >= 0 {
		return false
	}
	const spaces, tops = 0x2020202020202020, 0x8080808080808080
	low, high := uint64(0), uint64(0)
	i := 0
	for ; i+16 <= len(line); i += 16 {
		x, y := word(line[i:i+8]), word(line[i+8:i+16])
		low |= (x-spaces)&^x | (y-spaces)&^y // the top bit of a byte that is below ' '
		high |= x | y
	}
	for ; i < len(line); i++ {
		if line[i] < ' ' {
			return false
		}
		high |= uint64(line[i])
	}
	switch {
	case low&tops != 0:
		return false
	case high&tops == 0:
		return true
	}
	return utf8.ValidString(line) && !strings.Contains(line, cutMark)
}

// word is eight bytes.
func word(w string) uint64 {
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// cutMark ends a text that was too long for a record; see [rehearse.MayLack].
const cutMark = "…"
