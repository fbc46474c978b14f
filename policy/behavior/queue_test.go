package behavior

import (
	"fmt"
	"testing"
	"time"
)

func queued(who string, minute int) Sighting {
	at := noon.Add(time.Duration(minute) * time.Minute)
	return Sighting{Subject: somebody(who), First: at, At: at, Allowed: true}
}

func TestAFullQueueMergesTheOldest(t *testing.T) {
	q := newQueue(8)
	for i := range 20 {
		q.add(queued([]string{"alice", "bob"}[i%2], i))
	}
	if n, merged, lost := q.stats(); n != 8 || merged != 12 || lost != 0 {
		t.Errorf("%d wait, %d merged, %d lost", n, merged, lost)
	}
	rows := q.dequeue(100)
	first := map[string]time.Time{}
	for i, r := range rows {
		if i > 0 && r.At.Before(rows[i-1].At) {
			t.Error("out of order")
		}
		if f, ok := first[r.Subject.ID]; !ok || r.First.Before(f) {
			first[r.Subject.ID] = r.First
		}
	}
	// Since when somebody has been there is not lost with the rows.
	if !first["alice"].Equal(noon) || !first["bob"].Equal(noon.Add(time.Minute)) {
		t.Errorf("first: %v", first)
	}
}

// What says something that no other row says is the last to go.
func TestAFullQueueKeepsWhatIsAlone(t *testing.T) {
	q := newQueue(16)
	q.add(queued("alone", 0))
	for i := range 100 {
		q.add(queued("busy", i))
	}
	alone := 0
	for _, r := range q.dequeue(100) {
		if r.Subject.ID == "alone" {
			alone++
		}
	}
	if _, _, lost := q.stats(); alone != 1 || lost != 0 {
		t.Errorf("%d rows of somebody who was there once, %d lost", alone, lost)
	}
}

func TestAFullQueueOfStrangersCountsWhatItLoses(t *testing.T) {
	q := newQueue(16)
	for i := range 100 {
		q.add(queued(fmt.Sprint("p", i), i))
	}
	if n, merged, lost := q.stats(); n != 16 || merged != 0 || lost != 84 {
		t.Errorf("%d wait, %d merged, %d lost", n, merged, lost)
	}
	if len(q.youngest) != 16 {
		t.Errorf("%d kinds of 16 rows", len(q.youngest))
	}
}

func TestRestoredRowsAreTheOldest(t *testing.T) {
	q := newQueue(16)
	for i := range 6 {
		q.add(queued(fmt.Sprint("p", i), i))
	}
	q.restore(q.dequeue(4))
	rows := q.dequeue(100)
	for i, r := range rows {
		if want := fmt.Sprint("p", i); r.Subject.ID != want {
			t.Errorf("%s where %s was", r.Subject.ID, want)
		}
	}
	if len(rows) != 6 || len(q.youngest) != 0 {
		t.Errorf("%d rows; kinds that are left of an empty queue: %v", len(rows), q.youngest)
	}
}

// What did not fit while a batch was out is merged when it comes back.
func TestRestoringIntoAFullQueue(t *testing.T) {
	q := newQueue(8)
	for i := range 6 {
		q.add(queued(fmt.Sprint("p", i), i))
	}
	batch := q.dequeue(4)
	for i := range 6 {
		q.add(queued("late", 10+i))
	}
	q.restore(batch)
	seen := map[string]bool{}
	rows := q.dequeue(100)
	for _, r := range rows {
		seen[r.Subject.ID] = true
	}
	if _, merged, lost := q.stats(); len(rows) != 8 || len(seen) != 7 || merged != 4 || lost != 0 {
		t.Errorf("%d rows of %v, %d merged, %d lost", len(rows), seen, merged, lost)
	}
}

// Memory that is taken is given back.
func TestAnEmptiedQueueHoldsNothing(t *testing.T) {
	q := newQueue(100)
	for i := range 100_000 {
		q.add(queued("alice", i))
		q.dequeue(1)
	}
	if cap(q.rows) > 64 {
		t.Errorf("room for %d rows", cap(q.rows))
	}
}
