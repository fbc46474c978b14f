package authntest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
)

// CreateTicket implements [enroll.Store].
func (m *Memory) CreateTicket(ctx context.Context, t enroll.Ticket, d enroll.Digest) error {
	return m.do(ctx, "CreateTicket", func() error {
		if err := errors.Join(
			m.must(t.ID != "", "a ticket needs an id"),
			m.must(d != enroll.Digest{}, "ticket %s needs a digest", t.ID),
			m.must(canonical(t.Email), "ticket %s: e-mail %q is not canonical", t.ID, t.Email),
			m.must(t.ExpiresAt.After(t.CreatedAt), "ticket %s expires before it begins", t.ID),
			m.must(t.RedeemedAt.IsZero() && t.RedeemedBy.IsZero() && t.RevokedAt.IsZero(), "ticket %s is born spent", t.ID),
		); err != nil {
			return err
		}
		for digest, o := range m.tickets {
			if digest == d || o.ID == t.ID {
				return fmt.Errorf("ticket %s exists", t.ID)
			}
		}
		m.tickets[d] = cloneTicket(t)
		return nil
	})
}

// TicketByDigest implements [enroll.Store].
func (m *Memory) TicketByDigest(ctx context.Context, d enroll.Digest) (t enroll.Ticket, err error) {
	err = m.do(ctx, "TicketByDigest", func() error {
		stored, ok := m.tickets[d]
		if !ok {
			return authn.ErrNotFound
		}
		t = stored
		return nil
	})
	if err != nil {
		return enroll.Ticket{}, err
	}
	return t, nil
}

// RedeemTicket implements [enroll.Store].
func (m *Memory) RedeemTicket(ctx context.Context, d enroll.Digest, email authn.Email, at time.Time, c passkey.Record) error {
	return m.do(ctx, "RedeemTicket", func() error {
		t, ok := m.tickets[d]
		if !ok || t.Email != email || !open(t, at) {
			return authn.ErrNotFound
		}
		if err := m.checkCredential(c); err != nil {
			return err
		}
		if !t.NewAccount && m.otherAccount(email, c.Subject) {
			return enroll.ErrOtherAccount
		}
		t.RedeemedAt, t.RedeemedBy = micro(at), c.Subject
		m.tickets[d] = t
		m.addCredential(c)
		return nil
	})
}

// OtherAccount implements [enroll.Store].
func (m *Memory) OtherAccount(ctx context.Context, email authn.Email, s authn.Subject) (other bool, err error) {
	err = m.do(ctx, "OtherAccount", func() error {
		other = m.otherAccount(email, s)
		return nil
	})
	return other && err == nil, err
}

func (m *Memory) otherAccount(email authn.Email, s authn.Subject) bool {
	for _, t := range m.tickets {
		if t.Email != email || t.RedeemedAt.IsZero() || t.RedeemedBy == s {
			continue
		}
		for _, c := range m.creds {
			if c.Subject == t.RedeemedBy {
				return true
			}
		}
	}
	return false
}

// ListTickets implements [enroll.Store].
func (m *Memory) ListTickets(ctx context.Context, email authn.Email) (ts []enroll.Ticket, err error) {
	err = m.do(ctx, "ListTickets", func() error {
		for _, t := range m.tickets {
			if email == "" || t.Email == email {
				ts = append(ts, t)
			}
		}
		slices.SortFunc(ts, func(a, b enroll.Ticket) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ts, nil
}

// RevokeTicket implements [enroll.Store].
func (m *Memory) RevokeTicket(ctx context.Context, id string, at time.Time) error {
	return m.do(ctx, "RevokeTicket", func() error {
		for d, t := range m.tickets {
			if t.ID == id && open(t, at) {
				t.RevokedAt = micro(at)
				m.tickets[d] = t
				return nil
			}
		}
		return authn.ErrNotFound
	})
}

func open(t enroll.Ticket, at time.Time) bool {
	return t.RedeemedAt.IsZero() && t.RevokedAt.IsZero() && t.ExpiresAt.After(micro(at))
}

func cloneTicket(t enroll.Ticket) enroll.Ticket {
	for _, at := range []*time.Time{&t.CreatedAt, &t.ExpiresAt, &t.RedeemedAt, &t.RevokedAt} {
		*at = micro(*at)
	}
	return t
}
