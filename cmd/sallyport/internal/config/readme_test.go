package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// keys are the names of all keys of a configuration, whatever they are inside of.
func keys(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		keys(t.Elem(), into)
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			into[name] = true
			keys(t.Field(i).Type, into)
		}
	}
}

// The table of the README is the reference: every key is in it, and nothing that is none.
func TestReadmeHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	keys(reflect.TypeFor[file](), known)
	told := map[string]bool{}
	_, section, found := strings.Cut(string(text), "\n## Configuration\n")
	section, _, ended := strings.Cut(section, "\n## ")
	if !found || !ended || len(known) < 80 {
		t.Fatalf("no table, or only %d keys", len(known))
	}
	word := regexp.MustCompile(`[a-z_]+`)
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") || len(cells) < 3 {
			continue
		}
		for _, name := range word.FindAllString(cells[0], -1) {
			told[name] = true
			if !known[name] {
				t.Errorf("%s: there is no key %s", cells[0], name)
			}
		}
		if strings.Contains(line, "{") || strings.HasPrefix(cells[1], "mapping") { // the keys inside are named where the type or the meaning is told
			for _, name := range word.FindAllString(line, -1) {
				told[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !told[name] {
			t.Errorf("the README has no key %s", name)
		}
	}
}
