package portal

import (
	"net/http"
	"strings"
	"time"

	"sallyport/authn"
)

// maxTimeZone is longer than every name in the zone database.
const maxTimeZone = 64

// timeZone is the name of a zone as a browser gave it, or "". Only names in the zone
// database are kept. They are looked up in files, so a name that could not be one is not
// looked up. Callers ask once, after a valid assertion.
func timeZone(name string) string {
	odd := strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("_+/-", c)
	})
	// "" would be UTC, and "Local" is this machine's zone.
	if odd || name == "" || len(name) > maxTimeZone || strings.EqualFold(name, "Local") {
		return ""
	}
	if _, err := time.LoadLocation(name); err != nil {
		return ""
	}
	return name
}

// withBrowser adds the browser that a passkey was used or made with to the detail of an
// event.
func withBrowser(detail map[string]string, b authn.Browser) map[string]string {
	for name, value := range map[string]string{"device": b.Device, "browser": b.Family, "time_zone": b.TimeZone} {
		if value != "" {
			detail[name] = value
		}
	}
	return detail
}

// keepDevice makes the sign-in host recognise the browser again. If that fails, the
// person goes on all the same.
func (p *Portal) keepDevice(w http.ResponseWriter, r *http.Request) {
	if err := p.cfg.Sessions.KeepDevice(w, r); err != nil {
		p.cfg.Logger.Error("a device could not be given a cookie", "error", err)
	}
}
