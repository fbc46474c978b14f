package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/proxy/audit"
)

// refresher asks the OpenID provider, for every session that holds a refresh token,
// whether the person is still who they were. A disabled account ends its
// sessions, a removed group takes its access away, at the latest one interval after
// the provider knows it, as long as the provider answers: a session is due after
// eight tenths of the interval, and one is looked for every tenth. A session whose
// claims cannot be read ends after three intervals.
type refresher struct {
	sessions interface {
		DueForRefresh(ctx context.Context, before time.Time) ([]session.Refreshable, error)
		Refreshed(ctx context.Context, id string, p authn.Person, newToken string) error
		Revoke(ctx context.Context, f session.Filter) (int, error)
	}
	provider interface {
		Refresh(ctx context.Context, sub authn.Subject, refreshToken string) (signin.Result, error)
	}
	audit interface {
		Append(ctx context.Context, r audit.Record) error
	}
	every  time.Duration
	now    func() time.Time
	logger *slog.Logger
}

func newRefresher(who *identity, log *audit.Log, every time.Duration, logger *slog.Logger) *refresher {
	return &refresher{sessions: who.sessions, provider: who.provider, audit: log, every: every, now: time.Now, logger: logger}
}

// tick is how often due sessions are looked for.
func (f *refresher) tick() time.Duration { return max(f.every/10, time.Second) }

// run looks for due sessions all the time rather than once an interval, so that
// they do not come in one burst.
func (f *refresher) run(ctx context.Context) {
	tick := time.NewTicker(f.tick())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.pass(ctx)
		}
	}
}

// atOnce is how many sessions are refreshed at a time: one slow answer must not keep
// the others beyond their bound.
const atOnce = 16

// pass refreshes every session that is due. A provider that does not answer changes
// nothing: an outage of the provider must not sign the whole company out, and the
// session's absolute lifetime bounds what that can cost.
func (f *refresher) pass(ctx context.Context) {
	due, err := f.sessions.DueForRefresh(ctx, f.now().Add(2*f.tick()-f.every))
	if err != nil {
		f.logger.Error("sessions due for refresh could not be listed", "error", err)
		return
	}
	var running sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, s := range fair(due) {
		select {
		case <-ctx.Done():
		case places <- struct{}{}:
			running.Go(func() {
				defer func() { <-places }()
				if err := f.one(ctx, s); err != nil && ctx.Err() == nil {
					f.logger.Warn("a session could not be refreshed", "session", s.ID, "error", err)
				}
			})
		}
	}
	running.Wait()
}

// fair puts the sessions in rounds: each round has one session of each person, the one
// that the provider confirmed longest ago. However many sessions one person has, another
// person's first one waits for no second.
func fair(due []session.Refreshable) []session.Refreshable {
	slices.SortStableFunc(due, func(a, b session.Refreshable) int { return a.ConfirmedAt.Compare(b.ConfirmedAt) })
	count := map[authn.Subject]int{}
	round := make(map[string]int, len(due))
	for _, s := range due {
		round[s.ID] = count[s.Subject]
		count[s.Subject]++
	}
	slices.SortStableFunc(due, func(a, b session.Refreshable) int { return round[a.ID] - round[b.ID] })
	return due
}

func (f *refresher) one(ctx context.Context, s session.Refreshable) error {
	result, err := f.provider.Refresh(ctx, s.Subject, s.RefreshToken)
	switch bad, answered := errors.AsType[*signin.Error](err); {
	case errors.Is(err, signin.ErrGone):
		f.logger.Info("session ended: the provider does not vouch for the person any more", "session", s.ID, "subject", s.Subject.ID)
		return f.end(ctx, s, "refresh_refused")
	case answered && bad.Code == signin.CodeClaimMalformed:
		return f.unreadable(ctx, s, err)
	case err != nil:
		return err
	}
	err = f.sessions.Refreshed(ctx, s.ID, result.Person, result.RefreshToken)
	if errors.Is(err, session.ErrNoSession) {
		return nil // signed out or revoked meanwhile
	}
	return err
}

// unreadableFor is for how many intervals a session lives on the last claims that
// could be read.
const unreadableFor = 3

// unreadable is about a provider that answers, but with groups or countries that are not
// in any form we take: who the person is now is not known, and not for lack of an
// answer. A mistake at the provider has the time of a few intervals to be put right.
func (f *refresher) unreadable(ctx context.Context, s session.Refreshable, err error) error {
	f.logger.Error("a person's claims cannot be read", "hint", "their session ends unless the provider corrects the claims",
		"session", s.ID, "subject", s.Subject.ID, "confirmed", s.ConfirmedAt, "ends_after", (unreadableFor * f.every).String(), "error", err)
	if f.now().Sub(s.ConfirmedAt) < unreadableFor*f.every {
		return nil
	}
	return f.end(ctx, s, "refresh_unreadable")
}

func (f *refresher) end(ctx context.Context, s session.Refreshable, reason string) error {
	if _, err := f.sessions.Revoke(ctx, session.Filter{ID: s.ID}); err != nil {
		return err
	}
	return f.audit.Append(ctx, audit.Record{Time: f.now(), Event: "session_ended", Session: s.ID, Action: "block",
		Detail: map[string]string{"reason": reason, "subject": s.Subject.ID}})
}
