package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"
)

// The device cookie says that this is the browser of last time, whichever person signs in
// with it. It proves no identity: it opens nothing, and is only compared. It lives on the
// sign-in host, outlives signing out, and holds a random id and when it was sealed, under
// keys of its own. An attacker cannot make one up; one who copies it is that device.
//
// What others see of it is [Manager.Device]'s handle, a digest of the id: facts and
// audit records do not hold what would make a browser pass for another one.
const (
	deviceLife  = 365 * 24 * time.Hour
	deviceRenew = 30 * 24 * time.Hour // sealed longer ago: sealed anew, for another year
	deviceID    = 16                  // random bytes
	handleBytes = 16
)

// DeviceCookieName is the name of the device cookie; it must never reach an upstream.
func (m *Manager) DeviceCookieName() string { return m.deviceCookie }

// Device returns the public handle of the device that sent r, or "": it brought no
// device cookie, more than one, or one that was not sealed by us in the last year.
func (m *Manager) Device(r *http.Request) string {
	t, _, ok := m.device(r)
	if !ok {
		return ""
	}
	sum := sha256.Sum256(append([]byte("sallyport device\x00"), t[:deviceID]...))
	return encoding.EncodeToString(sum[:handleBytes])
}

// KeepDevice sends a device cookie to a browser that has none, and renews one in time:
// who comes by in a year, and in fifteen rotations of the keys, stays known.
func (m *Manager) KeepDevice(w http.ResponseWriter, r *http.Request) error {
	t, fresh, ok := m.device(r)
	if fresh {
		return nil
	}
	if !ok {
		t = token{}
		rand.Read(t[:deviceID])
	}
	binary.BigEndian.PutUint64(t[deviceID:], uint64(m.clock.now().Unix()))
	value, err := securecookie.EncodeMulti(m.deviceCookie, t, m.ring.keys.Load().devices...)
	if err != nil {
		return err
	}
	send(w, m.newCookie(m.deviceCookie, value, int(deviceLife/time.Second)))
	return nil
}

// device opens the cookie. fresh: it need not be sealed anew.
func (m *Manager) device(r *http.Request) (t token, fresh, ok bool) {
	name := m.deviceCookie
	value, times := lookup(r.Header, name)
	if times == 0 && m.deviceBefore != "" {
		// Devices stay known although the cookie's prefix has changed. It is on the sign-in
		// host only, where there are no scripts but ours to plant one.
		name = m.deviceBefore
		value, times = lookup(r.Header, name)
	}
	if times != 1 || len(value) != sealedLen {
		return t, false, false
	}
	t, newest, ok := m.openDevice(r.Context(), name, value)
	newest = newest && name == m.deviceCookie
	if !ok {
		return token{}, false, false
	}
	age := m.clock.now().Sub(time.Unix(int64(binary.BigEndian.Uint64(t[deviceID:])), 0))
	if age >= deviceLife {
		return token{}, false, false
	}
	return t, newest && age < deviceRenew, true
}

// openDevice also reports whether the newest key opened it. If the store is down while
// another process has rotated the keys, the device is unknown, which is a fact and no
// reason to refuse a person.
func (m *Manager) openDevice(ctx context.Context, name, value string) (t token, newest, ok bool) {
	for range 2 {
		for i, c := range m.ring.keys.Load().devices {
			if c.Decode(name, value, &t) == nil {
				return t, i == 0, true
			}
		}
		if m.ring.reloadSoon(ctx) != nil {
			break
		}
	}
	return t, false, false
}
