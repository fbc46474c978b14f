package config

import (
	"regexp"
	"strings"

	"sallyport/policy/strictyaml"
)

// No key of the configuration holds a secret: they are in files. Operators write them into
// it nevertheless, and messages about it end up in terminals and logs.

var (
	secretKey = regexp.MustCompile(`(?i)([\w-]*(?:secret|passw|passphrase|token|api_?key)[\w-]*)["']?(?:\s*[:=]|\s+\S)`)
	inURL     = regexp.MustCompile(`(://[^/\s"'@]*:)[^\s"']*@`)
	beginning = regexp.MustCompile(`^\s*(?:#|- |[\w-]+:(?:\s|$))`) // of an entry or a comment
)

// mayHoldSecret reports whether text reads like a secret with its name, or a URL with a
// password. The name of a file with a secret is none.
func mayHoldSecret(text string) bool {
	for _, m := range secretKey.FindAllStringSubmatch(text, -1) {
		if !strings.HasSuffix(m[1], "_file") {
			return true
		}
	}
	return inURL.MatchString(text) || strings.Contains(text, "store:") && !strings.Contains(text, "sqlite:")
}

// hideSecrets hides the lines that may hold a secret, before anything is said about them. A
// value may go on in the lines below its key.
func hideSecrets(s *strictyaml.Source) {
	within := -1 // the indentation of a line that may hold one
	for i, line := range s.Lines() {
		indent := len(line) - len(strings.TrimLeft(line, " \t-"))
		switch {
		case mayHoldSecret(line):
			s.HideLine(i + 1)
			if within = indent; strings.HasPrefix(strings.TrimSpace(line), "#") {
				within = -1
			}
		case within >= 0 && (indent > within || !beginning.MatchString(line)):
			s.HideLine(i + 1)
		default:
			within = -1
		}
	}
}

// withoutPasswords takes passwords out of the URLs of a message: their text may come from
// the environment.
func withoutPasswords(message string) string { return inURL.ReplaceAllString(message, "${1}...@") }

// keyName is a key without what may follow it for want of a colon.
func keyName(key string) string {
	if name, _, more := strings.Cut(strings.NewReplacer("=", " ", ":", " ").Replace(key), " "); more && mayHoldSecret(key) {
		return name
	}
	return key
}
