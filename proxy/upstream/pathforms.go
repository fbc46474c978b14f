package upstream

import (
	"fmt"
	"net/url"
	"strings"
)

// PathForms are ways to write a path that programs read differently. They are refused
// unless the route allows them. Zero is none.
//
// Not among them are forms whose readings cannot be kept apart from another path's: dot
// segments in any spelling, an empty first segment, a parameter before the last segment,
// control characters, what is encoded more than twice.
type PathForms uint8

const (
	EncodedSlash      PathForms = 1 << iota // %2F: GitLab, npm, Harbor, RabbitMQ
	TwiceEncodedSlash                       // %252F: branches in Jenkins
	EncodedBackslash                        // %5C: DOMAIN\user
	EncodedHash                             // %23 in the last segment: Matrix rooms, wiki pages
	Semicolon                               // ; in the last segment: jsessionid of Java servers
	DoubleSlash                             // // behind the first segment: keys in object stores
)

// pathForms are the names of all forms in the configuration, and how a refusal calls
// them.
var pathForms = []struct {
	form         PathForms
	name, called string
}{
	{EncodedSlash, "encoded_slash", "an encoded slash (%2F)"},
	{TwiceEncodedSlash, "twice_encoded_slash", "a doubly encoded slash (%252F)"},
	{EncodedBackslash, "encoded_backslash", "an encoded backslash (%5C)"},
	{EncodedHash, "encoded_hash", "an encoded number sign (%23)"},
	{Semicolon, "semicolon", "a semicolon"},
	{DoubleSlash, "double_slash", "two slashes in a row"},
}

// PathFormNames are the names of all forms, as the configuration spells them.
func PathFormNames() []string {
	names := make([]string, len(pathForms))
	for i, f := range pathForms {
		names[i] = f.name
	}
	return names
}

// ParsePathForm returns the form of a name.
func ParsePathForm(name string) (PathForms, error) {
	for _, f := range pathForms {
		if f.name == name {
			return f.form, nil
		}
	}
	return 0, fmt.Errorf("%q is not a form of a path", name)
}

// Names are the names of the forms in f.
func (f PathForms) Names() (names []string) {
	for _, p := range pathForms {
		if f&p.form != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// refuseForms is the refusal of a path that has forms which its route does not allow.
func refuseForms(forms PathForms) *BadRequest {
	var called []string
	for _, p := range pathForms {
		if forms&p.form != 0 {
			called = append(called, p.called)
		}
	}
	bad := refusePath(strings.Join(called, ", and ") + " in the path")
	bad.Forms, bad.Setting = forms, "paths: {allow: ["+strings.Join(forms.Names(), ", ")+"]}"
	return bad
}

// Admit returns nil if the route of a target that [Canonicalise] refused for its forms
// alone allows these. The path leads to one route in every reading, [RouteConfig.Exact]
// or not, and to none of Sallyport's own pages: otherwise what one route allows would be
// a way past another's allow.
func (t *Table) Admit(target Target) error {
	route, ok := t.Match(target)
	switch {
	case !ok:
		return refuseForms(target.forms)
	case target.forms&^route.forms != 0:
		return refuseForms(target.forms &^ route.forms)
	}
	if route.emptyBelow(&target) {
		return refusePath("an empty segment at the beginning of the path that the tool sees")
	}
	joined := target
	joined.Path = target.joined
	if Reserved(target.Path) || Reserved(joined.Path) {
		return refusePath("one reading of the path is a page of Sallyport")
	}
	if other, ok := t.Match(joined); !ok || other != route {
		return refusePath("one reading of the path is on another route")
	}
	return nil
}

// decoded is Path as package net/url knows it, which drops a RawPath that does not decode
// to its Path and would send another one.
func (t *Target) decoded() string {
	if t.forms&(EncodedSlash|TwiceEncodedSlash) == 0 {
		return t.Path
	}
	path, _ := url.PathUnescape(t.RawPath) // canonical
	return path
}
