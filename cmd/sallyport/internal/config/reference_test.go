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

// keys are the names of all keys of a configuration, at every level.
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

// deploy/configure.md is the reference: every key is in it, and nothing that is none.
func TestReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../../../deploy/configure.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	keys(reflect.TypeFor[file](), known)
	told := map[string]bool{}
	if len(known) < 80 {
		t.Fatalf("only %d keys", len(known))
	}
	word := regexp.MustCompile(`[a-z_]+`)
	for _, entry := range regexp.MustCompile("(?ms)^- (`.*?)(?:^- |^$|\\z)").FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n- ", "\n\n- "), -1) {
		names, _, _ := strings.Cut(entry[1], " (")
		for _, name := range word.FindAllString(names, -1) {
			told[name] = true
			if !known[name] {
				t.Errorf("%s: there is no key %s", names, name)
			}
		}
		if strings.Contains(entry[1], "{") || strings.Contains(entry[1], "(mapping") { // the keys inside are named where the type or the meaning is told
			for _, name := range word.FindAllString(entry[1], -1) {
				told[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !told[name] {
			t.Errorf("deploy/configure.md has no key %s", name)
		}
	}
}

// A key has $ in the reference if ${VARIABLE} is expanded in it.
func TestReferenceMarksExpandedKeys(t *testing.T) {
	text, err := os.ReadFile("../../../../deploy/configure.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^- `([a-z_.\\[\\]]+)` \\$ ").FindAllStringSubmatch(strings.ReplaceAll(string(text), "` $,", "` $ "), -1) {
		told = append(told, strings.ReplaceAll(m[1], "[]", ""))
	}
	var expanded func(t reflect.Type, above string) []string
	expanded = func(t reflect.Type, above string) (list []string) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		for f := range t.Fields() {
			name, env, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if env == "env" {
				list = append(list, above+name)
			}
			list = append(list, expanded(f.Type, above+name+".")...)
		}
		return list
	}
	known := expanded(reflect.TypeFor[file](), "")
	slices.Sort(told)
	slices.Sort(known)
	if !slices.Equal(told, known) {
		t.Errorf("marked %v, expanded in %v", told, known)
	}
}
