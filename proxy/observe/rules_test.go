package observe_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy/observe"
)

// The series are bounded, however many rules a policy has and a reload renames.
func TestRuleSeriesAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	o, err := observe.New(observe.Config{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	named := func(prefix string, n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("%s-%d", prefix, i))
		}
		return names
	}
	const series = "sallyport_policy_rule_total{"
	for range 2 {
		for _, prefix := range []string{"a", "b"} {
			counters := o.Rules(observe.Enforced, named(prefix, observe.MaxRules+2))
			for i := range counters {
				counters[i].Matched.Inc()
			}
			text := scrape(t, registry)
			if n := strings.Count(text, series); n != 4*(observe.MaxRules+1) {
				t.Errorf("%d series", n)
			}
			for _, want := range []string{
				fmt.Sprintf(`{outcome="matched",policy="enforced",rule="%s-%d"} 1`, prefix, observe.MaxRules-1),
				`{outcome="decided",policy="enforced",rule="other"} 0`,
			} {
				if !strings.Contains(text, want) {
					t.Errorf("metrics lack %s", want)
				}
			}
		}
	}
	if text := scrape(t, registry); !strings.Contains(text, `{outcome="matched",policy="enforced",rule="other"} 8`) {
		t.Error("the others are not counted together")
	}
	o.Rules(observe.Shadow, named("b", 2))
	o.Rules(observe.Enforced, named("b", 1))
	if n := strings.Count(scrape(t, registry), series); n != 12 {
		t.Errorf("%d series of one rule in force and two in shadow", n)
	}
	o.Rules(observe.Shadow, nil)
	if n := strings.Count(scrape(t, registry), series); n != 4 {
		t.Errorf("%d series of one rule", n)
	}
}
