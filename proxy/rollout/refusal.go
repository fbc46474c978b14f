package rollout

import (
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy/audit"
)

// Refusal is a "no" of the guard that still stands.
type Refusal struct {
	At    time.Time
	Since time.Time // when the first content was refused since the source last changed
	Why   string
}

// refusedIn reads from the audit log which content was refused and has not come into use
// since, by "name=hash", and since when sources, by name, keep their old content. The
// newest record counts.
func refusedIn(log string) (refused map[string]Refusal, since map[string]time.Time) {
	refused, since = map[string]Refusal{}, map[string]time.Time{}
	for line, err := range audit.LastLines(log, RecentLines) {
		if err != nil || !strings.Contains(string(line.Raw), `"data_`) || line.Decode() != nil {
			continue // `audit verify` reports a broken line
		}
		for _, s := range strings.Fields(line.Record.Detail["sources"]) {
			name := s[:max(0, strings.LastIndexByte(s, '='))]
			switch r := line.Record; r.Event {
			case "data_refused":
				if since[name].IsZero() {
					since[name] = r.Time
				}
				refused[s] = Refusal{r.Time, since[name], r.Detail["against"]}
			case "data_applied", "data_forced":
				delete(refused, s)
				delete(since, name)
			}
		}
	}
	return refused, since
}

// RefusedNow are the refusals of the present content of the files, by source.
func RefusedNow(log string, intel *ipintel.Snapshot) map[string]Refusal {
	all, _ := refusedIn(log)
	now := map[string]Refusal{}
	for _, s := range intel.Sources() {
		if r, ok := all[SourceNames([]ipintel.Source{s})]; ok && !s.Missing {
			now[s.Name] = r
		}
	}
	return now
}

// Text says it beside the name of a source.
func (r Refusal) Text() string {
	return "the running proxy refused what the file holds, and has kept what it had since " + r.Since.UTC().Format("2006-01-02 15:04") + " UTC: " + policy.Printable(r.Why)
}
