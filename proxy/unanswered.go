package proxy

import (
	"net/http"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/portal"
)

// This file ends loops in which no proof satisfies a rule: the person proves themselves,
// comes back, and is sent away again. A rule may want the proof from a network that the
// sign-in host does not see, or a passkey that the person does not have. After two proofs
// the person is told.

const (
	justHanded = 10 * time.Second // since the session came here: browsers go on at once
	justProven = 2 * time.Minute  // since the assertion that it came with
	maxVain    = 2                // proofs
)

// answeredKey is one hand-off of a session to a host.
type answeredKey struct {
	session, host string
	handed        int64
}

func answeredBy(v *Verdict) answeredKey {
	return answeredKey{v.Session.ID, v.Session.Host, v.Session.Verification.Browser.HandedAt}
}

const answeredEntries = 10_000

// noteAnswered remembers that a requested proof brought the person to a page. The next
// request for a proof is then a new one. Requests of scripts in open tabs do not count.
func (g *Gate) noteAnswered(r *http.Request, v *Verdict) {
	if v.Session.Verification.Browser.Proofs == 0 || portal.KindOf(r) < portal.Framed {
		return
	}
	if k := answeredBy(v); v.Facts.Time.Now.Sub(time.Unix(k.handed, 0)) <= justHanded {
		g.answered.Set(k, struct{}{})
	}
}

// unanswered counts the proofs in a row, the newest just now, that did not satisfy v.
func (g *Gate) unanswered(v *Verdict) int {
	s := &v.Session
	if v.Decision.Action != policy.StepUp || s.Level() != authn.Verified || s.Verification.Browser.HandedAt == 0 {
		return 0
	}
	now := v.Facts.Time.Now
	handed := now.Sub(time.Unix(s.Verification.Browser.HandedAt, 0))
	if handed > justHanded || now.Sub(s.Verification.At) > justProven {
		return 0
	}
	if _, ok := g.answered.GetIfPresent(answeredBy(v)); ok {
		return 0
	}
	return s.Verification.Browser.Proofs
}

// inVain ends a loop: it says why another proof would not help. It reports whether it
// answered.
func (g *Gate) inVain(w http.ResponseWriter, r *http.Request, v *Verdict, f portal.Refusal) bool {
	if g.unanswered(v) < maxVain || portal.KindOf(r) < portal.Framed {
		return false
	}
	g.cfg.Logger.Warn("a rule asks for a proof that this person cannot give from here", "route", v.Route.Name, "rules", v.Decision.Rules,
		"user", v.Session.Person.Email, "incident", f.Incident, "proven_from", v.Session.Verification.Addr, "asked_from", v.Client)
	if g.cfg.Observe != nil {
		g.cfg.Observe.Unanswered.WithLabelValues(v.Route.Name).Inc()
	}
	f.Status, f.Code, f.Title, f.StepUp = http.StatusForbidden, "proof_does_not_answer", "Proving it again would not help", false
	f.Text = []string{"You have proved twice that it is you, and both were accepted. A rule of your company asks for something else as well:", portal.InVain(v.Decision.Causes)}
	f.Steps = []string{"Try that, then open the tool again.", "If it goes on, tell your security team, and give them the reference below."}
	f.Link = portal.Link{URL: wayBack(v), Text: "Open the tool again"}
	g.refuse(w, r, v, f)
	return true
}
