package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/policy"
)

const (
	// maxLine bounds a line, line feed excluded, for the writer and every reader.
	maxLine = 64 << 10
	// lineHead is what the writer may put before an encoded body: seq, time, count.
	lineHead = 128
)

// limits caps what one record may carry. A record is cut with the first that
// makes it fit: request data is chosen by strangers, and must be able neither to
// fill the disk nor to make a record too long to be written (which would turn a
// long header into a way of being refused without a trace).
type limits struct{ text, list int }

var (
	cuts = []limits{{2048, 256}, {256, 32}, {64, 8}, {16, 2}}
	// The cause of these is unknown, and each of them costs as much disk.
	briefCuts = []limits{{256, 64}, {64, 8}, {16, 2}}
)

// body is a Record without what is only known when it is written.
type body struct {
	*Record
	Seq   *int `json:"seq,omitempty"`
	Time  *int `json:"time,omitempty"`
	Count *int `json:"count,omitempty"`
}

// encode returns r as a JSON object without seq, time and count, on one line and
// in printable characters only.
func encode(r *Record) ([]byte, error) { return encodeWithin(r, cuts) }

// encodeWithin is encode with other cuts.
func encodeWithin(r *Record, cuts []limits) ([]byte, error) {
	out, err := marshal(r)
	if err != nil {
		return nil, err
	}
	// No value is longer than the whole.
	if len(out) <= cuts[0].text {
		return printable(out), nil
	}
	var own Record // deep copy: the caller's facts must not change
	if err := json.Unmarshal(out, &own); err != nil {
		return nil, fmt.Errorf("audit record: %w", err)
	}
	for _, c := range cuts {
		clip(reflect.ValueOf(&own).Elem(), c)
		cut, err := marshal(&own)
		if err != nil {
			return nil, err
		}
		if cut = printable(cut); len(cut) <= maxLine-lineHead {
			return cut, nil
		}
	}
	return nil, fmt.Errorf("audit record of event %q does not fit a line", r.Event)
}

func marshal(r *Record) ([]byte, error) {
	w := *r
	if w.Rules == nil {
		w.Rules = []string{}
	}
	if w.Reasons == nil {
		w.Reasons = []string{}
	}
	if w.Sources != nil {
		w.DataHash = w.Sources.hash
	}
	if w.Facts != nil {
		w.FactsVersion = policy.FactsVersion
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // a path should be found by grep; nothing here is HTML
	if err := enc.Encode(body{Record: &w}); err != nil {
		return nil, fmt.Errorf("audit record: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// printable escapes what encoding/json leaves as it is and a terminal or a log
// viewer may act on: DEL, C1 controls (0x9b starts an escape sequence), bidirectional
// overrides, zero-width and unassigned characters. They can only be inside strings.
func printable(js []byte) []byte {
	plain := func(r rune) bool { return r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r) && r != utf8.RuneError }
	if bytes.IndexFunc(js, func(r rune) bool { return !plain(r) }) < 0 {
		return js
	}
	out := make([]byte, 0, len(js)+64)
	for len(js) > 0 {
		r, n := utf8.DecodeRune(js)
		switch {
		case plain(r):
			out = append(out, js[:n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		js = js[n:]
	}
	return out
}

// clip cuts every text, list and map below v; what was cut ends in "…".
func clip(v reflect.Value, c limits) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(clipText(v.String(), c.text))
		}
	case reflect.Pointer:
		clip(v.Elem(), c)
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() {
				clip(f, c)
			}
		}
	case reflect.Slice:
		if v.Len() > c.list {
			v.SetLen(c.list)
			if v.Type().Elem().Kind() == reflect.String {
				v.Index(c.list - 1).SetString("…")
			}
		}
		for i := range v.Len() {
			clip(v.Index(i), c)
		}
	case reflect.Map:
		if m, ok := v.Interface().(map[string]string); ok {
			v.Set(reflect.ValueOf(clipMap(m, c)))
		}
	}
}

func clipMap(m map[string]string, c limits) map[string]string {
	if m == nil {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make(map[string]string)
	for _, k := range keys[:min(len(keys), c.list)] {
		out[clipText(k, c.text)] = clipText(m[k], c.text)
	}
	return out
}

func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// appendLine appends the finished line, without line feed. Seq comes first, so
// that a reader can tell which record a line claims to be without parsing it.
func appendLine(dst []byte, seq int64, at time.Time, count int64, body []byte) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendInt(dst, seq, 10)
	dst = append(dst, `,"time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"', ',')
	if count > 0 {
		dst = append(dst, `"count":`...)
		dst = strconv.AppendInt(dst, count, 10)
		dst = append(dst, ',')
	}
	return append(dst, body[1:]...) // without its opening brace
}

// claimedSeq is the seq that a line says it has, or -1.
func claimedSeq(line []byte) int64 {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !ok {
		return -1
	}
	end := bytes.IndexByte(rest[:min(len(rest), 20)], ',')
	if end <= 0 || rest[0] < '0' || rest[0] > '9' {
		return -1
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
