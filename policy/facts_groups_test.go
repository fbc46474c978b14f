package policy

import "testing"

// Each group of facts says from which level on it is known, and what to tell a refused person.
func TestEveryGroupIsDescribed(t *testing.T) {
	schema := FactSchema()
	for _, g := range schema.Groups() {
		if _, ok := groups[g]; !ok {
			t.Errorf("facts_groups.go says nothing about %s", g)
		}
	}
	if len(groups) != len(schema.Groups()) {
		t.Error("facts_groups.go describes a group that is not there")
	}
}
