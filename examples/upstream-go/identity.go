package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Identity is who Sallyport says is calling.
type Identity struct {
	User   string // e-mail address, lower case
	Groups []string
}

// In reports whether the person is in a group, compared whole and case-sensitively.
func (id Identity) In(group string) bool { return slices.Contains(id.Groups, group) }

var errNobody = errors.New("the request did not come through Sallyport")

// identify reads the headers that Sallyport sets. They are only as trustworthy as the
// path of the request: a client that reaches this server directly can send any header.
// See main.
func identify(r *http.Request) (Identity, error) {
	user, err := one(r.Header, "X-Sallyport-User")
	if err != nil {
		return Identity{}, err
	}
	if user == "" {
		return Identity{}, errNobody
	}
	groups, err := one(r.Header, "X-Sallyport-Groups")
	if err != nil {
		return Identity{}, err
	}
	id := Identity{}
	if id.User, err = decode(user); err != nil {
		return Identity{}, err
	}
	// Split first, then decode: a comma inside a group's name arrives as %2C. The other
	// way round, the group "staff,admin" would make its members admins.
	for part := range strings.SplitSeq(groups, ",") {
		if part == "" {
			continue
		}
		g, err := decode(part)
		if err != nil {
			return Identity{}, err
		}
		id.Groups = append(id.Groups, g)
	}
	return id, nil
}

// one returns the only value of a header. Sallyport sends one; two mean that another
// program added one, and neither can be trusted.
func one(h http.Header, name string) (string, error) {
	switch v := h.Values(name); len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	default:
		return "", fmt.Errorf("%s is there %d times", name, len(v))
	}
}

// decode undoes the percent-encoding. PathUnescape and not QueryUnescape: "+" is a plus.
func decode(s string) (string, error) {
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", fmt.Errorf("malformed identity header: %w", err)
	}
	return out, nil
}
