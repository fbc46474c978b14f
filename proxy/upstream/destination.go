package upstream

import (
	"net/http"
	"strings"
)

// Destination is the second target of COPY and MOVE (WebDAV, RFC 4918 section 10.3),
// which a tool writes to as it writes to the path of a PUT. ok is false if r has none. It
// is read as the request line is, must be on the host and the route of source, and must
// be judged like it. The tool gets its path alone ([ForwardRequest.Destination]): the
// address that the client knows is not the tool's own, and many refuse it with 502.
func (t *Table) Destination(r *http.Request, source Target, route *Route) (to Target, ok bool, err error) {
	if r.Method != "COPY" && r.Method != "MOVE" || len(r.Header["Destination"]) == 0 {
		return Target{}, false, nil
	}
	if len(r.Header["Destination"]) > 1 {
		return Target{}, true, refuse("the request names two destinations")
	}
	to = Target{Scheme: source.Scheme}
	path := r.Header["Destination"][0]
	if scheme, rest, absolute := strings.Cut(path, "://"); absolute && !strings.HasPrefix(path, "/") {
		host := rest
		if path = ""; strings.Contains(rest, "/") {
			host, path, _ = strings.Cut(rest, "/")
		}
		path = "/" + path
		if err := to.setHost(host); err != nil {
			return Target{}, true, err
		}
		if !strings.EqualFold(scheme, source.Scheme) || to.Host != source.Host {
			return Target{}, true, refuse("the destination is on another host")
		}
	} else if err := to.setHost(source.Host); err != nil {
		return Target{}, true, err
	}
	if strings.Contains(path, "?") {
		return Target{}, true, refuse("the destination has a query")
	}
	if err := to.setPath(path); err != nil {
		return Target{}, true, err
	}
	if to.forms != 0 {
		if err := t.Admit(to); err != nil {
			return Target{}, true, err
		}
	}
	if other, _ := t.Match(to); other != route || Reserved(to.Path) {
		return Target{}, true, refuse("the destination is not on the route of the request")
	}
	if other, _ := t.Folded(to, route); other != nil {
		return Target{}, true, refuse("tools that do not care about case or suffixes take the destination for one of another route")
	}
	return to, true, nil
}

// destination is what the tool is told as the destination, or "".
func (fr *ForwardRequest) destination() string {
	if fr.Destination == "" || !fr.Route.strip {
		return fr.Destination
	}
	return fr.Route.below(fr.Destination)
}
