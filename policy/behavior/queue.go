package behavior

import (
	"sync"

	"sallyport/authn"
)

// queue holds the sightings that are to be written, oldest first. It never blocks and
// never grows beyond its limit: when it is full the oldest is merged into the youngest of
// the same kind, as the store would do with both after two days.
type queue struct {
	mu       sync.Mutex
	rows     []*Sighting // from head on
	head     int
	youngest map[kind]*Sighting
	limit    int
	merged   uint64
	lost     uint64
	wake     chan struct{} // has something in it when half full
}

// kind is what makes two sightings of different times the same to the long-term history.
type kind struct {
	subject       authn.Subject
	host, network uint64
	country       string
	asn           uint32
	device        string
	six, flagged  bool
	allowed       bool
}

func kindOf(s *Sighting) kind {
	return kind{s.Subject, s.Host, s.Network, s.Country, s.ASN, s.Device, s.Six, s.Flagged, s.Allowed}
}

func newQueue(limit int) *queue {
	return &queue{youngest: map[kind]*Sighting{}, limit: limit, wake: make(chan struct{}, 1)}
}

func (q *queue) add(s Sighting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rows)-q.head >= q.limit {
		q.room()
	}
	q.push(&s)
	if len(q.rows)-q.head >= q.limit/2 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *queue) push(s *Sighting) {
	if q.head > len(q.rows)/2 { // what was taken is given back
		q.rows = append([]*Sighting(nil), q.rows[q.head:]...)
		q.head = 0
	}
	q.rows = append(q.rows, s)
	q.youngest[kindOf(s)] = s
}

// looks is how many of the oldest are tried before one is given up.
const looks = 8

// room makes room for one. A row that is the only one of its kind moves to the end of the
// queue instead, because no other row says that the person was there at all.
func (q *queue) room() {
	for range looks {
		s := q.pop()
		if y := q.youngest[kindOf(s)]; y != s && y != nil {
			if s.First.Before(y.First) {
				y.First = s.First
			}
			q.merged++
			return
		}
		q.push(s)
	}
	s := q.pop()
	delete(q.youngest, kindOf(s))
	q.lost++
}

func (q *queue) pop() *Sighting {
	s := q.rows[q.head]
	q.rows[q.head] = nil
	q.head++
	return s
}

// dequeue removes up to n of the oldest.
func (q *queue) dequeue(n int) (batch []Sighting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(batch) < n && q.head < len(q.rows) {
		s := q.pop()
		if k := kindOf(s); q.youngest[k] == s {
			delete(q.youngest, k)
		}
		batch = append(batch, *s)
	}
	return batch
}

// restore puts back what take returned and could not be written.
func (q *queue) restore(batch []Sighting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	rows := make([]*Sighting, 0, len(batch)+len(q.rows)-q.head)
	for i := range batch {
		rows = append(rows, &batch[i])
		if k := kindOf(&batch[i]); q.youngest[k] == nil {
			q.youngest[k] = &batch[i]
		}
	}
	q.rows, q.head = append(rows, q.rows[q.head:]...), 0
	for len(q.rows)-q.head > q.limit {
		q.room()
	}
}

func (q *queue) stats() (waiting int, merged, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.rows) - q.head, q.merged, q.lost
}
