package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/strictyaml"
)

// LoadStore is [Load] for commands that act on the store alone, and that an operator needs
// while something else is broken: a list that is missing, a certificate, a typo. Where the
// store and session parts of the file are right, they are in c, and wrong is what is wrong
// with the rest. Where they are not, or the file is no YAML, the error is that of Load.
func LoadStore(file string) (c *Config, wrong, err error) {
	c, wrong = Load(file)
	if wrong == nil {
		return c, nil, nil
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, wrong
	}
	source, err := readFile(abs, strictyaml.MaxBytes)
	if err != nil {
		return nil, nil, wrong
	}
	r, f := newReader(file, source), defaults()
	root := r.Load(source, strictyaml.Format{})
	if root == nil || root.Kind != yaml.MappingNode {
		return nil, nil, wrong
	}
	part := *root // with what is needed; Load has judged the rest
	part.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		if slices.Contains([]string{"store", "session"}, root.Content[i].Value) {
			part.Content = append(part.Content, root.Content[i], root.Content[i+1])
		}
	}
	r.value("", &part, reflect.ValueOf(&f).Elem(), false)
	if c = storeOf(r, filepath.Dir(abs), f); r.Err() != nil {
		return nil, nil, wrong
	}
	return c, wrong, nil
}

// ForStore is the configuration of commands that act on the store alone, where there is no
// other. Sessions count as live for as long as any configuration may have them live.
func ForStore(store string) (*Config, error) {
	r, f := newReader("--store", nil), defaults()
	dir, err := os.Getwd()
	f.Store, f.Session.MaxAge, f.Session.IdleTimeout = store, maxSession, maxSession
	c := storeOf(r, dir, f)
	if !r.OK() {
		return nil, errors.New("--store: that is not a store: sqlite:PATH")
	}
	return c, err
}

func storeOf(r *reader, dir string, f file) *Config {
	b := builder{reader: r, dir: dir, f: f, c: &Config{source: r}}
	b.store()
	b.session()
	return b.c
}
