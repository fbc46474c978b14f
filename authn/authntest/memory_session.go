package authntest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

// changesKept is how many entries of the change log survive a purge.
const changesKept = 20_000

type change struct {
	seq int64
	id  string
}

// CreateSession implements [session.Store].
func (m *Memory) CreateSession(ctx context.Context, r session.Record, t session.Token) error {
	return m.do(ctx, "CreateSession", func() error {
		if err := errors.Join(
			m.must(r.ID != "", "a session needs an id"),
			m.must(whole(r.Person.Subject), "session %s belongs to no person", r.ID),
			m.must(r.Person.Email == "" || canonical(r.Person.Email), "session %s: e-mail %q is not canonical", r.ID, r.Person.Email),
			m.must(t.SessionID == r.ID, "the token of session %s names session %q", r.ID, t.SessionID),
			m.must(r.ExpiresAt.After(r.CreatedAt), "session %s expires before it begins", r.ID),
			m.checkToken(t),
		); err != nil {
			return err
		}
		if _, ok := m.sessions[r.ID]; ok {
			return fmt.Errorf("session %s exists", r.ID)
		}
		if _, ok := m.tokens[t.Digest]; ok {
			return errors.New("token exists")
		}
		m.sessions[r.ID] = cloneSession(r)
		m.tokens[t.Digest] = cloneToken(t)
		return nil
	})
}

func (m *Memory) checkToken(t session.Token) error {
	return errors.Join(
		m.must(t.Digest != session.Digest{}, "a token needs a digest"),
		m.must(t.SessionID != "", "a token needs a session"),
		m.must(t.Host != "", "a token of session %s needs a host", t.SessionID),
	)
}

// LoadSession implements [session.Store].
func (m *Memory) LoadSession(ctx context.Context, d session.Digest) (r session.Record, t session.Token, err error) {
	err = m.do(ctx, "LoadSession", func() error {
		stored, ok := m.tokens[d]
		if !ok {
			return authn.ErrNotFound
		}
		r, t = cloneSession(m.sessions[stored.SessionID]), cloneToken(stored)
		return nil
	})
	if err != nil {
		return session.Record{}, session.Token{}, err
	}
	return r, t, nil
}

// ReplaceToken implements [session.Store].
func (m *Memory) ReplaceToken(ctx context.Context, old session.Digest, t session.Token) error {
	return m.do(ctx, "ReplaceToken", func() error {
		if err := errors.Join(m.checkToken(t), m.must(old != t.Digest, "a token replaced by itself")); err != nil {
			return err
		}
		had, ok := m.tokens[old]
		if !ok {
			return authn.ErrNotFound
		}
		if err := m.must(had.SessionID == t.SessionID && had.Host == t.Host,
			"a token of session %s on %s replaced by one of %s on %s", had.SessionID, had.Host, t.SessionID, t.Host); err != nil {
			return errors.Join(authn.ErrNotFound, err)
		}
		if _, ok := m.tokens[t.Digest]; ok {
			return errors.New("token exists")
		}
		if m.disowned(t) {
			return authn.ErrNotFound
		}
		delete(m.tokens, old)
		m.tokens[t.Digest] = cloneToken(t)
		m.note(t.SessionID)
		return nil
	})
}

// PutToken implements [session.Store].
func (m *Memory) PutToken(ctx context.Context, t session.Token) error {
	return m.do(ctx, "PutToken", func() error {
		if err := m.checkToken(t); err != nil {
			return err
		}
		if _, ok := m.sessions[t.SessionID]; !ok || m.disowned(t) {
			return authn.ErrNotFound
		}
		if _, ok := m.tokens[t.Digest]; ok {
			return errors.New("token exists")
		}
		for d, other := range m.tokens {
			if other.SessionID == t.SessionID && other.Host == t.Host {
				delete(m.tokens, d)
			}
		}
		m.tokens[t.Digest] = cloneToken(t)
		m.note(t.SessionID)
		return nil
	})
}

// TouchSessions implements [session.Store].
func (m *Memory) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	return m.do(ctx, "TouchSessions", func() error {
		for id, at := range seen {
			if r, ok := m.sessions[id]; ok && micro(at).After(r.LastSeenAt) {
				r.LastSeenAt = micro(at)
				m.sessions[id] = r
			}
		}
		return nil
	})
}

// RefreshSession implements [session.Store].
func (m *Memory) RefreshSession(ctx context.Context, id string, p authn.Person, refreshToken []byte, at time.Time) error {
	return m.do(ctx, "RefreshSession", func() error {
		r, ok := m.sessions[id]
		if !ok {
			return authn.ErrNotFound
		}
		// A refresh must not turn one person's session into another's.
		if err := errors.Join(
			m.must(p.Subject == r.Person.Subject, "session %s refreshed for another subject", id),
			m.must(p.Email == "" || canonical(p.Email), "session %s: e-mail %q is not canonical", id, p.Email),
		); err != nil {
			return err
		}
		r.Person, r.RefreshToken, r.RefreshedAt = p, refreshToken, at
		m.sessions[id] = cloneSession(r)
		m.note(id)
		return nil
	})
}

// RevokeSessions implements [session.Store].
func (m *Memory) RevokeSessions(ctx context.Context, f session.Filter) (ids []string, err error) {
	err = m.do(ctx, "RevokeSessions", func() error {
		f.Limit = 0 // a revocation that stops half-way would leave sessions alive
		if err := checkFilter(f); err != nil {
			return err
		}
		if f.RefreshedBefore.IsZero() { // in any location
			f.RefreshedBefore = time.Time{}
		}
		if f == (session.Filter{}) {
			return errors.New("an empty filter would revoke every session")
		}
		for id, r := range m.sessions {
			if matches(f, r) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		m.remove(ids)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// TrimSessions implements [session.Store].
func (m *Memory) TrimSessions(ctx context.Context, person authn.Subject, keep int, spare string) (ids []string, err error) {
	err = m.do(ctx, "TrimSessions", func() error {
		if keep < 1 || person.Issuer == "" || person.ID == "" {
			return errors.New("one session at least is kept, of a whole subject")
		}
		verified := map[string]bool{}
		for _, t := range m.tokens {
			verified[t.SessionID] = verified[t.SessionID] || !t.Verification.At.IsZero()
		}
		var rs []session.Record
		for id, r := range m.sessions {
			if r.Person.Subject == person && id != spare {
				rs = append(rs, r)
			}
		}
		rank := map[bool]int{true: 0, false: 1}
		slices.SortFunc(rs, func(a, b session.Record) int {
			return cmp.Or(rank[verified[a.ID]]-rank[verified[b.ID]], b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		for _, r := range rs[min(keep-1, len(rs)):] {
			ids = append(ids, r.ID)
		}
		slices.Sort(ids)
		m.remove(ids)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// ListSessions implements [session.Store].
func (m *Memory) ListSessions(ctx context.Context, f session.Filter) (rs []session.Record, err error) {
	err = m.do(ctx, "ListSessions", func() error {
		if err := checkFilter(f); err != nil {
			return err
		}
		for _, r := range m.sessions {
			if matches(f, r) {
				rs = append(rs, cloneSession(r))
			}
		}
		slices.SortFunc(rs, func(a, b session.Record) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		if f.Limit > 0 && len(rs) > f.Limit {
			rs = rs[:f.Limit]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// PurgeSessions implements [session.Store]. What it deletes is noted in the
// change log like any other end of a session.
func (m *Memory) PurgeSessions(ctx context.Context, expiredBefore, seenBefore time.Time) (n int, err error) {
	err = m.do(ctx, "PurgeSessions", func() error {
		// Trimmed first, so that what this purge notes is still there to be read.
		if extra := len(m.changes) - changesKept; extra > 0 {
			m.trimmedSeq = m.changes[extra-1].seq
			m.changes = slices.Delete(m.changes, 0, extra)
		}
		var ids []string
		for id, r := range m.sessions {
			if r.ExpiresAt.Before(micro(expiredBefore)) || r.LastSeenAt.Before(micro(seenBefore)) {
				ids = append(ids, id)
			}
		}
		m.remove(ids)
		n = len(ids)
		return nil
	})
	return n, err
}

// SessionChanges implements [session.Store]. A reader whose `after` is older than the
// log, or newer than anything in it, has missed changes that are no longer known: it gets
// an error, never an empty answer.
func (m *Memory) SessionChanges(ctx context.Context, after int64) (ids []string, last int64, err error) {
	err = m.do(ctx, "SessionChanges", func() error {
		last = m.changeSeq
		if after != 0 && (after < m.trimmedSeq || after > last) {
			return fmt.Errorf("the change log spans %d to %d: changes after %d are lost", m.trimmedSeq, last, after)
		}
		for _, c := range m.changes {
			if c.seq > after && !slices.Contains(ids, c.id) {
				ids = append(ids, c.id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, last, err
	}
	return ids, last, nil
}

func (m *Memory) note(id string) {
	m.changeSeq++
	m.changes = append(m.changes, change{m.changeSeq, id})
}

// disowned reports whether t was verified with a credential that has been blocked
// or removed since.
func (m *Memory) disowned(t session.Token) bool {
	id := string(t.Verification.Credential.ID)
	return m.removed[id] || m.creds[id].Blocked != ""
}

func (m *Memory) removeIf(ends func(session.Record) bool) {
	var ids []string
	for id, r := range m.sessions {
		if ends(r) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	m.remove(ids)
}

func (m *Memory) remove(ids []string) {
	for _, id := range ids {
		delete(m.sessions, id)
		m.note(id)
	}
	for d, t := range m.tokens {
		if _, ok := m.sessions[t.SessionID]; !ok {
			delete(m.tokens, d)
		}
	}
}

// checkFilter refuses half of a pair: a sid means nothing without its issuer, and half a
// subject would match no session, which a caller that revokes would take for "done".
func checkFilter(f session.Filter) error {
	if (f.ProviderIssuer == "") != (f.ProviderSession == "") {
		return errors.New("a filter needs both the provider's issuer and its session, or neither")
	}
	if !f.Subject.IsZero() && !whole(f.Subject) {
		return errors.New("a filter needs both parts of a subject, or neither")
	}
	return nil
}

func matches(f session.Filter, r session.Record) bool {
	switch {
	case f.ID != "" && f.ID != r.ID,
		!f.Subject.IsZero() && f.Subject != r.Person.Subject,
		f.Email != "" && f.Email != r.Person.Email,
		f.ProviderSession != "" && (f.ProviderSession != r.ProviderSession || f.ProviderIssuer != r.Person.Subject.Issuer):
		return false
	case !f.RefreshedBefore.IsZero():
		return len(r.RefreshToken) > 0 && r.RefreshedAt.Before(micro(f.RefreshedBefore))
	default:
		return true
	}
}

func cloneSession(r session.Record) session.Record {
	r.Person.Groups, r.Person.Countries = list(r.Person.Groups), list(r.Person.Countries)
	r.IDToken, r.RefreshToken = list(r.IDToken), list(r.RefreshToken)
	for _, t := range []*time.Time{&r.CreatedAt, &r.ExpiresAt, &r.LastSeenAt, &r.AuthTime, &r.RefreshedAt, &r.Person.StartedAt} {
		*t = micro(*t)
	}
	return r
}

func cloneToken(t session.Token) session.Token {
	t.CreatedAt = micro(t.CreatedAt)
	t.Verification.At = micro(t.Verification.At)
	t.Verification.Credential = cloneCredential(t.Verification.Credential)
	return t
}

func cloneCredential(c authn.Credential) authn.Credential {
	c.ID, c.Transports = list(c.ID), list(c.Transports)
	c.CreatedAt, c.LastUsedAt = micro(c.CreatedAt), micro(c.LastUsedAt)
	return c
}
