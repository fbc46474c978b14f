package portal

import (
	"net/http"
	"strings"
	"time"

	"sallyport/authn/session"
)

// A person opens a link with a ticket before they are signed in. While they are at the
// OpenID provider the ticket waits in a cookie of their browser. In an address it would
// be in the history, in the logs of proxies in front of us, and known to every party of
// the sign-in.
const (
	ticketCookieLife  = 15 * time.Minute
	codeTicketRefused = "ticket_refused"
	codeEnrolled      = "already_enrolled"
	maxTicket         = 128
)

// TicketCookieName is the name of the cookie that holds a ticket during a sign-in;
// it must never reach an upstream.
func (p *Portal) TicketCookieName() string {
	return session.HostCookie(p.secure, "sallyport-ticket")
}

// FlowCookiePrefix is the common start of the names of the cookies of sign-ins under way,
// without the prefix of a name. None of these cookies must ever reach an upstream.
func (p *Portal) FlowCookiePrefix() string { return flowCookiePrefix }

// ticketOf is the ticket that a visit to the enrolment page brings: in the link, or
// back from signing in.
func (p *Portal) ticketOf(r *http.Request) string {
	if ticket := r.URL.Query().Get("ticket"); ticket != "" {
		return ticket
	}
	if c, err := r.Cookie(p.TicketCookieName()); err == nil {
		return c.Value
	}
	return ""
}

// keepTicket stores the ticket for the time of a sign-in.
func (p *Portal) keepTicket(w http.ResponseWriter, ticket string) {
	if ticket == "" {
		return
	}
	// Text that cannot be a ticket is replaced by text that is invalid too, but fits into
	// a cookie. It is refused once the person is known.
	odd := strings.ContainsFunc(ticket, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if odd || len(ticket) > maxTicket {
		ticket = "malformed"
	}
	http.SetCookie(w, p.ticketCookie(ticket, int(ticketCookieLife/time.Second)))
}

// dropTicket deletes the cookie of a ticket that is spent or was refused.
func (p *Portal) dropTicket(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(p.TicketCookieName()); err == nil {
		http.SetCookie(w, p.ticketCookie("", -1))
	}
}

func (p *Portal) ticketCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: p.TicketCookieName(), Value: value, Path: "/", MaxAge: maxAge,
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}
