package audit

import (
	"fmt"
	"testing"
)

// attackers are those whose worst is measured: requests as long and as different as they can be, on every
// page and path, often enough that every count is due whenever one can be.
var attackers = []struct {
	name string
	ip   func(i int) string
	who  func(r *Record, i int)
	most int64 // bytes in the first hour
}{
	{"one IPv4 address", func(int) string { return "198.51.100.7" }, nil, 1 << 20},
	{"one IPv6 /64", func(i int) string { return fmt.Sprintf("2001:db8:1:1::%x", i+1) }, nil, 1 << 20},
	{"one IPv4 /24", func(i int) string { return fmt.Sprintf("198.51.100.%d", i%256) }, nil, 8 << 20},
	{"one IPv6 /48", func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i%65536) }, nil, 8 << 20},
	{"all addresses", func(i int) string { return fmt.Sprintf("2001:%x:%x::1", i>>12, i&0xfff) }, nil, 56 << 20},
	{"a session without a passkey", func(int) string { return "198.51.100.7" }, func(r *Record, _ int) {
		r.Session, r.User = "s", "mallory@example.com"
	}, 2 << 20},
	{"alarms of a session without a passkey", func(i int) string { return fmt.Sprintf("2001:%x:%x::1", i>>12, i&0xfff) }, func(r *Record, i int) {
		r.Session, r.User, r.Country = fmt.Sprint(i), "mallory@example.com", fmt.Sprint(i%250)
		r.Event, r.Detail = "step_up_failed", map[string]string{"risk": "high", "code": fmt.Sprint("code-", i%8)}
	}, 24 << 20},
	{"a verified session", func(int) string { return "198.51.100.7" }, func(r *Record, _ int) {
		r.Session, r.User, r.Verified = "s", "alice@example.com", true
	}, 24 << 20},
}

// The worst that strangers, and one person, can make of the log in an hour. README.md has the
// figures that -v prints.
func TestWorstCaseInBytesAnHour(t *testing.T) {
	for _, a := range attackers {
		t.Run(a.name, func(t *testing.T) {
			l, cfg, c := budgetLog(t)
			i := 0
			storm := func(minute int) {
				n := 100
				if minute == 0 {
					n = 3000
				}
				for range n { // new ones
					rec := refusal(strangersEvents[i%len(strangersEvents)], a.ip(i), i)
					if a.who != nil {
						a.who(&rec, i)
					}
					mustRecord(t, l, rec)
					i++
				}
				l.repeats.touch() // and all that there were, again
			}
			first := hour(t, l, cfg, c, storm)
			second := hour(t, l, cfg, c, storm)
			t.Logf("%s: %.2f MB in the first hour, %.2f MB in the second", a.name, float64(first)/1e6, float64(second)/1e6)
			if first > a.most || second > first {
				t.Errorf("%d bytes in the first hour and %d in the second; at most %d are promised", first, second, a.most)
			}
		})
	}
}

// touch repeats every run, as an attacker would who knew when each is due.
func (r *repeats) touch() {
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		for _, e := range s.runs {
			e.count++
		}
		s.mu.Unlock()
	}
}
