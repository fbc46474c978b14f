package config

import (
	"reflect"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"sallyport/policy/strictyaml"
)

// No key of the configuration holds a secret: they are in files. Operators write them into
// it nevertheless, and messages about it end up in terminals and logs.

var (
	secretKey = regexp.MustCompile(`(?i)([\w-]*(?:secret|passw|passphrase|token|api_?key)[\w-]*)["']?(?:\s*[:=]|\s+\S)`)
	beginning = regexp.MustCompile(`^\s*(?:#|- |[\w-]+:(?:\s|$))`) // of an entry or a comment
	anyKey    = regexp.MustCompile(`(?:^|[\s{,-])["']?([A-Za-z_][\w-]*)["']?:(?:\s|$)`)
	blockText = regexp.MustCompile(`:\s+[|>][-+0-9]*\s*$`)
	fileKey   = regexp.MustCompile(`[\w-]*_file["']?:\s+["']?([^"',{}\[\]#][^"',}\]]*)`)

	// The slash is one where the URL was taken for a path.
	inURL   = regexp.MustCompile(`(/[^/\s"'@:]*:|:/+)[^/\s"'@]+@`)
	longURL = regexp.MustCompile(`(/[^/\s"'@:]*:)[^\s"']*@`) // a password with a slash
	inQuery = regexp.MustCompile(`(:/[^\s"'?#]*[?#]|[?&][\w.~-]+=)[^\s"'&]+`)
)

// known are the keys of the configuration, wherever they stand in it.
var known = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	keysOf(reflect.TypeFor[file](), names)
	return names
})

func keysOf(t reflect.Type, names map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		keysOf(t.Elem(), names)
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			names[name] = true
			keysOf(t.Field(i).Type, names)
		}
	}
}

// mayHoldSecret reports whether text reads like a secret with its name, or a URL with a
// password. The name of a file with a secret is none.
func mayHoldSecret(text string) bool {
	for _, m := range secretKey.FindAllStringSubmatch(text, -1) {
		if !strings.HasSuffix(m[1], "_file") {
			return true
		}
	}
	return inURL.MatchString(text) || longURL.MatchString(text) || strings.Contains(text, "store:") && !strings.Contains(text, "sqlite:")
}

// namesFile reports whether a text reads like the name of a file, and not like what was to
// be in it.
func namesFile(text string) bool {
	return strings.ContainsAny(text, "/.") && !strings.ContainsAny(text, "=+ \n") && !strings.HasPrefix(text, "eyJ") || strings.HasPrefix(text, "${")
}

// hideSecrets hides the lines that may hold a secret, before anything is said about them:
// the value of a key that the configuration does not have, a secret in the place of the
// file that it was to be in, and what a URL has besides its address. A value may go on in
// the lines below its key.
func hideSecrets(s *strictyaml.Source) {
	within := -1 // the indentation of a line that may hold one
	for i, line := range s.Lines() {
		indent := len(line) - len(strings.TrimLeft(line, " \t-"))
		shown := shownOf(line)
		switch {
		case shown == 0, shown > 0 && within < 0, shown > 0 && indent <= within && beginning.MatchString(line):
			s.HideFrom(i+1, shown)
			if within = indent; strings.HasPrefix(strings.TrimSpace(line), "#") {
				within = -1
			}
		case within >= 0 && (indent > within || !beginning.MatchString(line)):
			s.HideFrom(i+1, 0)
		default:
			within = -1
		}
	}
}

// shownOf is how many characters of a line can be shown; -1 is all.
func shownOf(line string) int {
	if mayHoldSecret(line) {
		return 0
	}
	end := len(line) + 1
	for _, m := range anyKey.FindAllStringSubmatchIndex(line, -1) {
		if !known()[line[m[2]:m[3]]] {
			end = min(end, m[1])
		}
	}
	for _, m := range fileKey.FindAllStringSubmatchIndex(line, -1) {
		if !namesFile(strings.TrimSpace(line[m[2]:m[3]])) {
			end = min(end, m[2])
		}
	}
	if m := inQuery.FindStringSubmatchIndex(line); m != nil {
		end = min(end, m[3])
	}
	if m := blockText.FindStringIndex(line); m != nil {
		end = min(end, m[0]+1)
	}
	if end > len(line) {
		return -1
	}
	return utf8.RuneCountInString(line[:end])
}

// WithoutPasswords takes out of a text what its URLs have besides an address: their text
// may come from the environment.
func WithoutPasswords(text string) string {
	text = inURL.ReplaceAllString(longURL.ReplaceAllString(text, "${1}...@"), "${1}...@")
	return inQuery.ReplaceAllString(text, "${1}...")
}

func withoutPasswords(d strictyaml.Diagnostic) strictyaml.Diagnostic {
	d.Message, d.Expected, d.Suggestion = WithoutPasswords(d.Message), WithoutPasswords(d.Expected), WithoutPasswords(d.Suggestion)
	return d
}

// keyName is a key without what may follow it for want of a colon.
func keyName(key string) string {
	if name, _, more := strings.Cut(strings.NewReplacer("=", " ", ":", " ").Replace(key), " "); more && mayHoldSecret(key) {
		return name
	}
	return key
}
