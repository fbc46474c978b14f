package portal

import (
	"strings"

	"sallyport/policy"
)

// because says why a person has to prove themselves, in plain words. It never names
// policies, thresholds or lists.
func because(causes []policy.Cause) string {
	for _, c := range causes {
		switch c {
		case policy.CauseUnverified, policy.CauseSignIn:
			return "You have signed in. Now show that it is really you at this device."
		case policy.CauseNetwork:
			return "You are connecting from a different network than usual for this tool, so we need to check that it is really you."
		case policy.CauseHistory:
			return "You are connecting from somewhere we have not seen you lately, so we need to check that it is really you."
		case policy.CauseDevice:
			return "This browser or device is not the one we know you by, so we need to check that it is really you."
		case policy.CauseCredential:
			return "This tool needs to be opened with another kind of passkey than the one you used."
		case policy.CauseRequest, policy.CauseSession:
			return "What you are about to do needs a recent check that it is really you."
		case policy.CauseTime:
			return "At this time of day we check once more that it is really you."
		case policy.CausePerson:
			return "Your account needs a recent check that it is really you."
		}
	}
	return "We need to check that it is really you before you go on."
}

// InVain says what a person can do if a proof did not satisfy a rule.
func InVain(causes []policy.Cause) string {
	for _, c := range causes {
		switch c {
		case policy.CauseNetwork, policy.CauseSession:
			return "This browser reaches the sign-in page and the tool from different networks. Use one network for both: switch a VPN off, or on for everything."
		case policy.CauseCredential:
			return "The tool needs another kind of passkey. Verify with another one, such as a security key."
		case policy.CauseHistory, policy.CauseDevice:
			return "It does not know this place, this browser or this device well enough. Use the ones you usually work with."
		case policy.CauseTime:
			return "The tool is not open to you at this time of day."
		}
	}
	return "Your security team can see which rule it is."
}

// parseCauses reads the causes from a page's query. The query is the client's, so
// anything outside the vocabulary is dropped; a forged value can only select another of
// the sentences above.
func parseCauses(s string) []policy.Cause {
	var causes []policy.Cause
	for part := range strings.SplitSeq(s, ",") {
		switch c := policy.Cause(part); c {
		case policy.CauseSignIn, policy.CauseUnverified, policy.CauseNetwork, policy.CauseHistory, policy.CauseDevice,
			policy.CausePerson, policy.CauseSession, policy.CauseCredential, policy.CauseRequest, policy.CauseTime:
			causes = append(causes, c)
		}
		if len(causes) == 8 {
			break
		}
	}
	return causes
}

func joinCauses(causes []policy.Cause) string {
	parts := make([]string, len(causes))
	for i, c := range causes {
		parts[i] = string(c)
	}
	return strings.Join(parts, ",")
}

// NoAddress answers a request whose client address cannot be determined. That is a fault
// of a proxy in front, or of one on the person's side, so the text does not ask a person
// to switch off a VPN that they do not have.
func NoAddress(incident string) Refusal {
	return Refusal{
		Status: 403, Code: "blocked", Title: "You cannot get in at the moment", Incident: incident,
		Text:  []string{"We cannot see where you are connecting from. Usually this is a fault on our side that affects all people."},
		Steps: []string{"If you use a proxy, switch it off and reload this page.", "If that does not help, send the reference below to your IT team. It tells them what to repair."},
	}
}

// Blocked explains a block to the person: what kind of fact caused it and what to do,
// never which rule.
func Blocked(d policy.Decision, email, incident string) Refusal {
	f := Refusal{
		Status: 403, Code: "blocked", Title: "You cannot get in from here", Incident: incident, Email: email,
		Steps: []string{"If you think this is a mistake, send the reference below to your security team. It tells them everything they need."},
	}
	for _, c := range d.Causes {
		switch c {
		case policy.CauseGrant:
			f.Title = "You do not have access to this tool"
			f.Text = []string{"You are signed in, but this tool is not open to your account."}
			f.Steps = []string{"Ask the owner of the tool, or your security team, to give you access.", "If you should have access already, send them the reference below."}
			return f
		case policy.CauseHistory:
			f.Text = []string{"Where you are connecting from does not fit where you were before."}
			f.Steps = append([]string{"If you are travelling, tell your security team where you are."}, f.Steps...)
			return f
		case policy.CauseDevice:
			f.Title = "You cannot get in with this browser"
			f.Text = []string{"This browser or device is not accepted for your account."}
			f.Steps = append([]string{"Use the computer that your company gave you, and the browser that you normally use."}, f.Steps...)
			return f
		case policy.CauseNetwork:
			f.Text = []string{"The network you are connecting from is not accepted for this tool."}
			f.Steps = append([]string{"If you use a VPN, a proxy, a private relay or a remote desktop, switch it off and reload this page.", "If you are travelling, tell your security team where you are."}, f.Steps...)
			return f
		}
	}
	f.Title = "You cannot get in at the moment"
	f.Text = []string{"Your company's access rules do not allow this request."}
	return f
}
