package proxy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const proofFromHere = testPolicy + `  - {name: proof-from-here, when: 'request.route == "treasury" && !session.verified_here', then: step_up}` + "\n"

// One line has an IPv4 address for one host and an IPv6 address for the other. The proof that a
// tool asked for counts where it was asked for.
func TestProofIsGoodWhereItWasAskedFor(t *testing.T) {
	for name, c := range map[string]struct{ signIn, tool string }{
		"one line":           {home, homeIPv6},
		"the other way":      {homeIPv6, home},
		"two addresses":      {home, cafe},
		"the same, as usual": {home, home},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, carriers(t), func(p *setup) { p.policy = proofFromHere })
			b := g.browser(c.signIn).enroll("alice")
			b.addrs = map[string]string{"treasury.example.test": c.tool}
			g.clock.Add(time.Minute) // the assertion of the enrolment was for nothing of this
			page := b.follow(treasury + "/books?q=1")
			if c.signIn != c.tool {
				if !strings.Contains(page.body, `data-action="verify"`) {
					t.Fatalf("no question: %d %s", page.StatusCode, page.body)
				}
				page = b.pressAndGo(page)
			}
			if page.StatusCode != 200 || !strings.HasSuffix(page.at, "/books?q=1") {
				t.Fatalf("after the proof: %d at %s: %s", page.StatusCode, page.at, page.body)
			}
			// It is good there, and at no third place.
			b.addrs = map[string]string{"treasury.example.test": "203.0.113.120"}
			if a := b.get(treasury + "/"); a.StatusCode != 302 || !strings.Contains(a.location(), "/step-up") {
				t.Errorf("from a third place: %d %s", a.StatusCode, a.location())
			}
		})
	}
}

// An assertion from before the tool asked proves nothing of where the tool was opened.
func TestProofFromBeforeTheQuestion(t *testing.T) {
	g := newHarness(t, carriers(t), func(p *setup) { p.policy = proofFromHere })
	b := g.browser(home).enroll("alice")
	b.addrs = map[string]string{"wiki.example.test": homeIPv6, "treasury.example.test": homeIPv6}
	g.clock.Add(time.Minute)
	b.follow(wiki + "/wiki") // handed over, and nothing was asked
	g.use(strings.ReplaceAll(proofFromHere, `"treasury"`, `"wiki"`))
	if a := b.get(wiki + "/wiki"); a.StatusCode != 302 || !strings.Contains(a.location(), "/step-up") {
		t.Errorf("%d %s", a.StatusCode, a.location())
	}
}

// One question after another, each of which is answered, is no loop, however fast they come.
func TestQuestionsThatAreAnswered(t *testing.T) {
	g := newHarness(t, carriers(t), func(p *setup) { p.policy = proofFromHere })
	b := g.browser(home).enroll("alice")
	g.clock.Add(time.Minute)
	for i, place := range []string{homeIPv6, cafe, homeIPv6, cafe} {
		b.addrs = map[string]string{"treasury.example.test": place}
		page := b.follow(treasury + "/books")
		if !strings.Contains(page.body, `data-action="verify"`) {
			t.Fatalf("place %d: no question: %d %s", i, page.StatusCode, page.body)
		}
		if page = b.pressAndGo(page); page.StatusCode != 200 || !strings.HasSuffix(page.at, "/books") {
			t.Fatalf("place %d: %d at %s: %s", i, page.StatusCode, page.at, page.body)
		}
		g.clock.Add(time.Second)
	}
}

// A question that no proof answers ends after two, with what it is about.
func TestLoopOfProofsEnds(t *testing.T) {
	for cause, c := range map[string]struct{ when, says string }{
		"network": {"ip.country != \"KP\"", "different networks"},
		"passkey": {`credential.class != "attested"`, "another kind of passkey"},
		"request": {`request.path == "/never"`, "security team"},
	} {
		t.Run(cause, func(t *testing.T) {
			g := newHarness(t, carriers(t))
			b := g.browser(home).enroll("alice")
			g.use(testPolicy + "  - {name: never-content, when: '" + c.when + "', then: step_up, max_age: 1s}\n")
			g.clock.Add(time.Minute)
			to := treasury + "/never"
			for proof := range 2 {
				page := b.follow(to)
				if !strings.Contains(page.body, `data-action="verify"`) {
					t.Fatalf("before proof %d: %d %s", proof+1, page.StatusCode, page.body)
				}
				var done struct{ Next string }
				a := b.press(page)
				b.must(json.Unmarshal([]byte(a.body), &done))
				g.clock.Add(2 * time.Second) // too old already
				g.audit.reset()
				page = b.follow(absolute(page.at, done.Next))
				if proof == 0 {
					to = page.at
					continue
				}
				if page.StatusCode != 403 || !strings.Contains(page.body, "would not help") || !strings.Contains(page.body, c.says) {
					t.Fatalf("after two: %d %s", page.StatusCode, page.body)
				}
				recs := g.audit.take()
				if last := recs[len(recs)-1]; last.Action != "step_up" || !strings.Contains(page.body, last.Incident) {
					t.Errorf("recorded %s", jsonText(recs))
				}
			}
			// Later it is tried again: it may have been mended.
			g.clock.Add(time.Minute)
			if a := b.get(treasury + "/never"); a.StatusCode != 302 {
				t.Errorf("a minute later: %d", a.StatusCode)
			}
		})
	}
}

// A proof that was given for one tool answers the question of another, without a second press: the other tool's host only
// has not heard of it yet. Where it is not enough, the other tool asks, once.
func TestProofForOneToolAnswersAnother(t *testing.T) {
	g := newHarness(t, carriers(t))
	b := g.enrolled("alice", home)
	for _, to := range []string{treasury + "/books", wiki + "/wiki", desk + "/app"} {
		if a := b.follow(to); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", to, a.StatusCode, a.body)
		}
	}
	g.clock.Add(10 * time.Minute)
	b.addr = vpn
	a := b.pressAndGo(b.follow(treasury + "/books"))
	if a.StatusCode != 200 || !strings.HasSuffix(a.at, "/books") {
		t.Fatalf("after the proof: %d at %s", a.StatusCode, a.at)
	}
	g.clock.Add(3 * time.Second)
	if a := b.follow(wiki + "/wiki"); a.StatusCode != 200 || !strings.HasSuffix(a.at, "/wiki") {
		t.Errorf("another tool: %d at %s", a.StatusCode, a.at)
	}
	g.clock.Add(5 * time.Minute)
	a = b.follow(desk + "/app")
	if !strings.Contains(a.body, `data-action="verify"`) {
		t.Fatalf("a tool that wants a newer proof: %d at %s", a.StatusCode, a.at)
	}
	if a := b.pressAndGo(a); a.StatusCode != 200 || !strings.HasSuffix(a.at, "/app") {
		t.Errorf("after the newer proof: %d at %s", a.StatusCode, a.at)
	}
}
