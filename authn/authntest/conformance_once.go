package authntest

import (
	"fmt"
	"time"

	"sallyport/authn"
)

var onceTests = []storeTest{
	{"a record is taken once", func(t *storeT) {
		k := digest("k")
		t.ok(t.a.Put(t.ctx, "handoff", k, []byte{0, 1, 0xff}, epoch.Add(time.Minute)))
		got, err := t.b.Take(t.ctx, "handoff", k, epoch)
		t.ok(err)
		t.equal(got, []byte{0, 1, 0xff})
		_, err = t.a.Take(t.ctx, "handoff", k, epoch)
		t.is(err, authn.ErrNotFound)
	}},
	{"of concurrent takers one wins", func(t *storeT) {
		k := digest("k")
		t.ok(t.a.Put(t.ctx, "handoff", k, nil, epoch.Add(time.Minute)))
		wins := t.race(8, func(_ int, s Stores) error {
			_, err := s.Take(t.ctx, "handoff", k, epoch)
			return err
		}, authn.ErrNotFound)
		t.equal(wins, 1)
	}},
	{"an expired record cannot be taken, not even by a slow clock", func(t *storeT) {
		k := digest("k")
		end := epoch.Add(time.Minute)
		t.ok(t.a.Put(t.ctx, "handoff", k, nil, end))
		_, err := t.a.Take(t.ctx, "handoff", k, end)
		t.is(err, authn.ErrNotFound)
		_, err = t.b.Take(t.ctx, "handoff", k, epoch)
		t.is(err, authn.ErrNotFound)
		k = digest("k2")
		t.ok(t.a.Put(t.ctx, "handoff", k, nil, end))
		_, err = t.a.Take(t.ctx, "handoff", k, end.Add(-time.Microsecond))
		t.ok(err)
	}},
	{"another purpose does not take it", func(t *storeT) {
		k := digest("k")
		t.ok(t.a.Put(t.ctx, "handoff", k, []byte("1"), epoch.Add(time.Minute)))
		t.ok(t.a.Put(t.ctx, "flow", k, []byte("2"), epoch.Add(time.Minute)))
		_, err := t.a.Take(t.ctx, "ceremony", k, epoch)
		t.is(err, authn.ErrNotFound)
		got, err := t.a.Take(t.ctx, "flow", k, epoch)
		t.ok(err)
		t.equal(string(got), "2")
		got, err = t.a.Take(t.ctx, "handoff", k, epoch)
		t.ok(err)
		t.equal(string(got), "1")
	}},
	{"a record is not put over another", func(t *storeT) {
		k := digest("k")
		t.ok(t.a.Put(t.ctx, "logout", k, []byte("1"), epoch.Add(time.Minute)))
		t.refused(t.b.Put(t.ctx, "logout", k, []byte("2"), epoch.Add(time.Hour)))
		got, err := t.a.Take(t.ctx, "logout", k, epoch)
		t.ok(err)
		t.equal(string(got), "1")
		t.refused(t.a.Put(t.ctx, "", digest("x"), nil, epoch))
		t.refused(t.a.Put(t.ctx, "logout", [32]byte{}, nil, epoch))
		t.refused(t.a.Put(t.ctx, "logout", digest("x"), nil, time.Time{}))
	}},
	{"what one maker has too much of makes room, oldest first", func(t *storeT) {
		put := func(name, group string, after time.Duration) {
			t.ok(t.a.PutBounded(t.ctx, "flow", digest(name), []byte(name), epoch.Add(time.Minute+after), authn.Bound{Group: group, Wide: "w-" + group, PerGroup: 3, InAll: 100}))
		}
		put("other", "office", 0)
		t.ok(t.a.Put(t.ctx, "flow", digest("unbounded"), nil, epoch.Add(time.Minute)))
		for i := range 5 {
			put(fmt.Sprint("f", i), "cafe", time.Duration(i)*time.Second)
		}
		for name, want := range map[string]error{"f0": authn.ErrNotFound, "f1": authn.ErrNotFound, "f2": nil, "f3": nil, "f4": nil, "other": nil, "unbounded": nil} {
			if _, err := t.b.Take(t.ctx, "flow", digest(name), epoch); want == nil {
				t.ok(err)
			} else {
				t.is(err, want)
			}
		}
	}},
	{"who fills the store loses their own records", func(t *storeT) {
		put := func(name string, b authn.Bound, after time.Duration) {
			b.PerGroup, b.InAll = 10, 20
			t.ok(t.a.PutBounded(t.ctx, "flow", digest(name), nil, epoch.Add(time.Minute+after), b))
		}
		// An office behind one address is first, and so the oldest.
		for i := range 9 {
			put(fmt.Sprint("office", i), authn.Bound{Group: "203.0.113.0/24", Wide: "203.0.0.0/16"}, time.Duration(i))
		}
		for i := range 60 {
			put(fmt.Sprint("attack", i), authn.Bound{Group: fmt.Sprintf("2001:db8:0:%x::/64", i), Wide: "2001:db8::/32"}, time.Second+time.Duration(i)*time.Millisecond)
		}
		for i := range 9 {
			_, err := t.b.Take(t.ctx, "flow", digest(fmt.Sprint("office", i)), epoch)
			t.ok(err)
		}
		left := 0
		for i := range 60 {
			if _, err := t.b.Take(t.ctx, "flow", digest(fmt.Sprint("attack", i)), epoch); err == nil {
				left++
			}
		}
		t.equal(left, 11)
	}},
	{"purge removes what expired", func(t *storeT) {
		end := epoch.Add(time.Minute)
		t.ok(t.a.Put(t.ctx, "handoff", digest("1"), nil, end))
		t.ok(t.a.Put(t.ctx, "handoff", digest("2"), nil, end.Add(time.Microsecond)))
		n, err := t.b.PurgeOnce(t.ctx, end.Add(time.Microsecond))
		t.ok(err)
		t.equal(n, 1)
		_, err = t.a.Take(t.ctx, "handoff", digest("2"), end)
		t.ok(err)
	}},
}

func sampleKey(id string, at time.Time) authn.Key {
	return authn.Key{ID: id, Use: "cookie", Secret: []byte{1, 0, 0xff}, CreatedAt: at}
}

var keyTests = []storeTest{
	{"two processes that start at once get the same key", func(t *storeT) {
		got := make([]authn.Key, 8)
		wins := t.race(8, func(i int, s Stores) (err error) {
			got[i], err = s.AddFirstKey(t.ctx, sampleKey(fmt.Sprint("k", i), epoch))
			return err
		})
		t.equal(wins, 8)
		for _, k := range got {
			t.equal(k, got[0])
		}
		ring, err := t.b.Keys(t.ctx, "cookie")
		t.ok(err)
		t.equal(ring, got[:1])
		t.equal(got[0].Secret, []byte{1, 0, 0xff})
		t.equal(got[0].CreatedAt, micro(epoch))
	}},
	{"the newest key is the one added last", func(t *storeT) {
		_, err := t.a.AddFirstKey(t.ctx, sampleKey("k1", epoch))
		t.ok(err)
		t.ok(t.b.AddKey(t.ctx, sampleKey("k2", epoch.Add(-time.Hour)), 3)) // a clock that runs behind
		t.ok(t.a.AddKey(t.ctx, sampleKey("k3", epoch.Add(-2*time.Hour)), 3))
		t.equal(t.ring(), []string{"k3", "k2", "k1"})
		t.ok(t.b.AddKey(t.ctx, sampleKey("k4", epoch), 2))
		t.equal(t.ring(), []string{"k4", "k3"})
		first, err := t.a.AddFirstKey(t.ctx, sampleKey("k5", epoch))
		t.ok(err)
		t.equal(first.ID, "k4")
		t.equal(t.ring(), []string{"k4", "k3"})
	}},
	{"a key of one use is none of another", func(t *storeT) {
		_, err := t.a.AddFirstKey(t.ctx, sampleKey("k1", epoch))
		t.ok(err)
		audit := sampleKey("k1", epoch)
		audit.Use = "audit"
		got, err := t.a.AddFirstKey(t.ctx, audit)
		t.ok(err)
		t.equal(got.Use, "audit")
		ks, err := t.a.Keys(t.ctx, "assertion")
		t.ok(err)
		t.equal(len(ks), 0)
	}},
	{"a key that would harm the ring is refused", func(t *storeT) {
		_, err := t.a.AddFirstKey(t.ctx, sampleKey("k1", epoch))
		t.ok(err)
		t.refused(t.a.AddKey(t.ctx, sampleKey("k1", epoch), 3))
		t.refused(t.a.AddKey(t.ctx, sampleKey("k2", epoch), 0))
		t.refused(t.a.AddKey(t.ctx, authn.Key{ID: "k2", Use: "cookie", CreatedAt: epoch}, 3))
		t.refused(t.a.AddKey(t.ctx, authn.Key{ID: "k2", Secret: []byte{1}, CreatedAt: epoch}, 3))
		t.equal(t.ring(), []string{"k1"})
	}},
}

func (t *storeT) ring() (ids []string) {
	t.Helper()
	ks, err := t.b.Keys(t.ctx, "cookie")
	t.ok(err)
	for _, k := range ks {
		ids = append(ids, k.ID)
	}
	return ids
}
