package portal

import (
	"net/http"
	"strings"
	"time"

	"sallyport/authn/session"
)

// A link with a ticket is opened by somebody who is not signed in yet. While they
// are at the OpenID provider the ticket waits in a cookie of their browser: in an
// address it would be in the history, in the logs of what stands in front of us, and
// with every party of the sign-in.
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

// FlowCookiePrefix is what the names of the cookies of sign-ins under way begin with,
// less the prefix of a name; none of them must ever reach an upstream.
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

// keepTicket puts the ticket aside for the time of a sign-in.
func (p *Portal) keepTicket(w http.ResponseWriter, ticket string) {
	if ticket == "" {
		return
	}
	// What cannot be a ticket stays something that is not one, to be refused as such
	// when the person is known, and nothing that a cookie cannot hold.
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
