package session

import (
	"context"
	"encoding/binary"
	"time"
)

// What tests outside the package reach into.
var (
	ReturnPath = returnPath
	Later      = later
	Lookup     = lookup
)

const (
	SealedLen  = sealedLen
	BlindAfter = blindAfter
	FlushBatch = flushBatch
)

func (m *Manager) Poll(ctx context.Context) error  { return m.poll(ctx) }
func (m *Manager) Flush(ctx context.Context) error { return m.flush(ctx) }
func (m *Manager) Purge(ctx context.Context) error { return m.purge(ctx) }
func (m *Manager) Cached() (cookies, sessions int) { return m.cache.size() }
func (m *Manager) Decode(sealed string) ([32]byte, error) {
	var t token
	err := m.decode(sealed, &t)
	return t, err
}
func (m *Manager) SealSecret(kind, id, plain string) []byte {
	return m.ring.sealSecret(kind, id, plain)
}
func (m *Manager) OpenSecret(kind, id string, s []byte) (string, error) {
	return m.ring.openSecret(kind, id, s)
}
func (m *Manager) Blind(now time.Time) bool { return m.blind(now) }

// Seal seals raw under a cookie name of the caller's choice.
func (m *Manager) Seal(name string, raw [32]byte) string {
	s, err := m.ring.keys.Load().cookies[0].Encode(name, token(raw))
	if err != nil {
		panic(err)
	}
	return s
}

// SealDevice seals a device's id under a cookie name of the caller's choice.
func (m *Manager) SealDevice(name string, at time.Time) string {
	var t token
	t[0] = 1
	binary.BigEndian.PutUint64(t[deviceID:], uint64(at.Unix()))
	s, err := m.ring.keys.Load().devices[0].Encode(name, t)
	if err != nil {
		panic(err)
	}
	return s
}

// size returns the number of cookies and sessions held.
func (c *cache) size() (entries, sessions int) {
	for i := range parts {
		e, l := &c.entries[i], &c.lives[i]
		e.RLock()
		entries += len(e.m)
		e.RUnlock()
		l.RLock()
		sessions += len(l.m)
		l.RUnlock()
	}
	return entries, sessions
}
