package authntest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
)

// UserHandle implements [passkey.Store].
func (m *Memory) UserHandle(ctx context.Context, s authn.Subject, fresh []byte) (handle []byte, err error) {
	err = m.do(ctx, "UserHandle", func() error {
		if err := errors.Join(
			m.must(whole(s), "a user handle needs a subject"),
			m.must(len(fresh) == 64, "a user handle has 64 bytes, not %d", len(fresh)),
		); err != nil {
			return err
		}
		if m.handles[s] == nil {
			for _, h := range m.handles {
				if bytes.Equal(h, fresh) {
					return errors.New("user handle exists")
				}
			}
			m.handles[s] = list(fresh)
		}
		handle = list(m.handles[s])
		return nil
	})
	if err != nil {
		return nil, err
	}
	return handle, nil
}

// Credentials implements [passkey.Store].
func (m *Memory) Credentials(ctx context.Context, s authn.Subject) (rs []passkey.Record, err error) {
	err = m.do(ctx, "Credentials", func() error {
		for _, r := range m.creds {
			if r.Subject == s {
				rs = append(rs, cloneRecord(r))
			}
		}
		slices.SortFunc(rs, func(a, b passkey.Record) int {
			return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), bytes.Compare(a.ID, b.ID))
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// AddCredential implements [passkey.Store].
func (m *Memory) AddCredential(ctx context.Context, r passkey.Record, by []byte) error {
	return m.do(ctx, "AddCredential", func() error {
		if err := m.checkCredential(r); err != nil {
			return err
		}
		if c, ok := m.creds[string(by)]; len(by) > 0 && (!ok || c.Subject != r.Subject || c.Blocked != "") {
			return authn.ErrNotFound
		}
		m.addCredential(r)
		return nil
	})
}

func (m *Memory) addCredential(r passkey.Record) {
	m.creds[string(r.ID)] = cloneRecord(r)
	delete(m.removed, string(r.ID))
}

// checkCredential says whether r can be stored, without storing it.
func (m *Memory) checkCredential(r passkey.Record) error {
	if err := errors.Join(
		m.must(len(r.ID) > 0, "a credential needs an id"),
		m.must(whole(r.Subject), "a credential belongs to no person"),
		m.must(len(r.PublicKey) > 0, "a credential needs a public key"),
		m.must(r.Class != authn.ClassNone, "a credential needs a class"),
	); err != nil {
		return err
	}
	if _, ok := m.creds[string(r.ID)]; ok {
		return passkey.ErrCredentialExists
	}
	return nil
}

// RecordUse implements [passkey.Store].
func (m *Memory) RecordUse(ctx context.Context, s authn.Subject, id []byte, u passkey.Use) error {
	return m.do(ctx, "RecordUse", func() error {
		r, ok := m.creds[string(id)]
		if !ok || r.Subject != s || r.SignCount != u.OldSignCount || r.Blocked != "" {
			return authn.ErrNotFound
		}
		r.SignCount, r.BackedUp, r.LastUsedAt, r.Data = u.SignCount, u.BackedUp, u.At, u.Data
		m.creds[string(id)] = cloneRecord(r)
		return nil
	})
}

// BlockCredential implements [passkey.Store]. The first reason stays: it is
// what an investigation wants to know. A second block ends sessions as well.
func (m *Memory) BlockCredential(ctx context.Context, s authn.Subject, id []byte, reason string) error {
	return m.do(ctx, "BlockCredential", func() error {
		if err := m.must(reason != "", "a credential blocked for no reason would stay usable"); err != nil {
			return err
		}
		if err := m.change(s, id, func(r *passkey.Record) error {
			r.Blocked = cmp.Or(r.Blocked, reason)
			return nil
		}); err != nil {
			return err
		}
		m.removeIf(func(r session.Record) bool { return r.Person.Subject == s })
		return nil
	})
}

// RenameCredential implements [passkey.Store].
func (m *Memory) RenameCredential(ctx context.Context, s authn.Subject, id []byte, name string) error {
	return m.do(ctx, "RenameCredential", func() error {
		return m.change(s, id, func(r *passkey.Record) error {
			r.Name = name
			return nil
		})
	})
}

// RemoveCredential implements [passkey.Store].
func (m *Memory) RemoveCredential(ctx context.Context, s authn.Subject, id []byte) error {
	return m.do(ctx, "RemoveCredential", func() error {
		r, ok := m.creds[string(id)]
		if !ok || r.Subject != s {
			return authn.ErrNotFound
		}
		usable := 0
		for _, o := range m.creds {
			if o.Subject == s && o.Blocked == "" {
				usable++
			}
		}
		if r.Blocked == "" && usable == 1 {
			return passkey.ErrLastCredential
		}
		delete(m.creds, string(id))
		m.removed[string(id)] = true
		m.removeIf(func(r session.Record) bool {
			for _, t := range m.tokens {
				if t.SessionID == r.ID && r.Person.Subject == s && string(t.Verification.Credential.ID) == string(id) {
					return true
				}
			}
			return false
		})
		return nil
	})
}

func (m *Memory) change(s authn.Subject, id []byte, f func(*passkey.Record) error) error {
	r, ok := m.creds[string(id)]
	if !ok || r.Subject != s {
		return authn.ErrNotFound
	}
	if err := f(&r); err != nil {
		return err
	}
	m.creds[string(id)] = r
	return nil
}

func cloneRecord(r passkey.Record) passkey.Record {
	r.Credential = cloneCredential(r.Credential)
	r.PublicKey, r.Data = list(r.PublicKey), list(r.Data)
	return r
}
