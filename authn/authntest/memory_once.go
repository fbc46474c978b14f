package authntest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/authn"
)

type onceKey struct {
	purpose string
	key     [32]byte
}

type onceValue struct {
	payload []byte
	expires time.Time
	group   authn.Bound
	seq     int // the order in which they were put
}

// Put implements [session.Once]. An existing key is an error in any state: what can be
// put twice can be taken twice.
func (m *Memory) Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error {
	return m.do(ctx, "Put", func() error {
		if err := errors.Join(
			m.must(purpose != "", "a one-time record needs a purpose"),
			m.must(key != [32]byte{}, "a one-time record (%s) needs a key", purpose),
			m.must(!expires.IsZero(), "a one-time record (%s) needs an end", purpose),
		); err != nil {
			return err
		}
		k := onceKey{purpose, key}
		if _, ok := m.once[k]; ok {
			return fmt.Errorf("one-time record (%s) exists", purpose)
		}
		m.once[k] = onceValue{payload: list(payload), expires: micro(expires)}
		return nil
	})
}

// PutBounded implements [signin.Once].
func (m *Memory) PutBounded(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time, b authn.Bound) error {
	if err := m.Put(ctx, purpose, key, payload, expires); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onceSeq++
	m.once[onceKey{purpose, key}] = onceValue{list(payload), micro(expires), b, m.onceSeq}
	m.evict(purpose, b.PerGroup, func(o authn.Bound) bool { return o.Group == b.Group && o.PerGroup > 0 })
	for {
		parts, most, n := map[string]int{}, "", 0
		for k, v := range m.once {
			if k.purpose != purpose || v.group.InAll == 0 {
				continue
			}
			n++
			w := v.group.Wide
			if parts[w]++; parts[w] > parts[most] || parts[w] == parts[most] && w < most {
				most = w
			}
		}
		if n <= b.InAll {
			return nil
		}
		m.evict(purpose, parts[most]-1, func(o authn.Bound) bool { return o.Wide == most && o.InAll > 0 })
	}
}

// evict removes the oldest of those that are in until there are no more than left.
func (m *Memory) evict(purpose string, left int, in func(authn.Bound) bool) {
	for {
		n := 0
		var oldest onceKey
		for k, v := range m.once {
			if k.purpose != purpose || !in(v.group) {
				continue
			}
			if n++; n == 1 || v.seq < m.once[oldest].seq {
				oldest = k
			}
		}
		if n <= left {
			return
		}
		delete(m.once, oldest)
	}
}

// Take implements [session.Once]. An expired record is removed as well: a
// process whose clock runs behind cannot take it later.
func (m *Memory) Take(ctx context.Context, purpose string, key [32]byte, now time.Time) (payload []byte, err error) {
	err = m.do(ctx, "Take", func() error {
		k := onceKey{purpose, key}
		v, ok := m.once[k]
		delete(m.once, k)
		if !ok || !v.expires.After(micro(now)) {
			return authn.ErrNotFound
		}
		payload = v.payload
		return nil
	})
	if err != nil {
		return nil, err
	}
	return payload, nil
}

// PurgeOnce implements [Stores].
func (m *Memory) PurgeOnce(ctx context.Context, expiredBefore time.Time) (n int, err error) {
	err = m.do(ctx, "PurgeOnce", func() error {
		for k, v := range m.once {
			if v.expires.Before(micro(expiredBefore)) {
				delete(m.once, k)
				n++
			}
		}
		return nil
	})
	return n, err
}

// Keys implements [authn.KeyStore].
func (m *Memory) Keys(ctx context.Context, use string) (ks []authn.Key, err error) {
	err = m.do(ctx, "Keys", func() error {
		for _, k := range m.keys[use] {
			ks = append(ks, cloneKey(k))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ks, nil
}

// AddFirstKey implements [authn.KeyStore].
func (m *Memory) AddFirstKey(ctx context.Context, k authn.Key) (first authn.Key, err error) {
	err = m.do(ctx, "AddFirstKey", func() error {
		if err := m.checkKey(k); err != nil {
			return err
		}
		if len(m.keys[k.Use]) == 0 {
			m.keys[k.Use] = []authn.Key{cloneKey(k)}
		}
		first = cloneKey(m.keys[k.Use][0])
		return nil
	})
	if err != nil {
		return authn.Key{}, err
	}
	return first, nil
}

// AddKey implements [authn.KeyStore]. The newest key is the one added last, even if the
// clocks of the writers differ.
func (m *Memory) AddKey(ctx context.Context, k authn.Key, keep int) error {
	return m.do(ctx, "AddKey", func() error {
		if err := errors.Join(m.checkKey(k), m.must(keep >= 1, "keeping %d keys would drop the new one", keep)); err != nil {
			return err
		}
		ring := m.keys[k.Use]
		if slices.ContainsFunc(ring, func(o authn.Key) bool { return o.ID == k.ID }) {
			return fmt.Errorf("key %s exists", k.ID)
		}
		ring = slices.Concat([]authn.Key{cloneKey(k)}, ring)
		m.keys[k.Use] = ring[:min(keep, len(ring))]
		return nil
	})
}

func (m *Memory) checkKey(k authn.Key) error {
	return errors.Join(
		m.must(k.ID != "" && k.Use != "", "a key needs an id and a use"),
		m.must(len(k.Secret) > 0, "key %s is empty", k.ID),
	)
}

func cloneKey(k authn.Key) authn.Key {
	k.Secret, k.CreatedAt = list(k.Secret), micro(k.CreatedAt)
	return k
}
