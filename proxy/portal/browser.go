package portal

import (
	"net/http"
	"strings"
	"time"

	"sallyport/authn"
)

// maxTimeZone is longer than every name in the zone database.
const maxTimeZone = 64

// timeZone is the name of a zone as a browser gave it, or "". Only what the zone
// database has is kept: names are looked up in files, so that those which could not be one
// are not even asked for. Callers ask once for an assertion that was good.
func timeZone(name string) string {
	odd := strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("_+/-", c)
	})
	// "" would be UTC, and "Local" is where this machine stands.
	if odd || name == "" || len(name) > maxTimeZone || strings.EqualFold(name, "Local") {
		return ""
	}
	if _, err := time.LoadLocation(name); err != nil {
		return ""
	}
	return name
}

// withBrowser adds to the detail of an event what a passkey was used or made with.
func withBrowser(detail map[string]string, b authn.Browser) map[string]string {
	for name, value := range map[string]string{"device": b.Device, "browser": b.Family, "time_zone": b.TimeZone} {
		if value != "" {
			detail[name] = value
		}
	}
	return detail
}

// keepDevice has the browser of a page of ours known again. Nobody is kept waiting, or
// out, because that does not work.
func (p *Portal) keepDevice(w http.ResponseWriter, r *http.Request) {
	if err := p.cfg.Sessions.KeepDevice(w, r); err != nil {
		p.cfg.Logger.Error("a device could not be given a cookie", "error", err)
	}
}
