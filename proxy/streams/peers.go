package streams

import (
	"sync"
	"sync/atomic"
	"time"
)

// peers are the streams of one order. Sending a close frame is a small write; closing the
// connections afterwards is ten times the work, and must not come before the next client
// is told. A client that does not read delays the others for a moment at most.
type peers struct {
	left atomic.Int64 // streams that have not been told
	once sync.Once
	all  chan struct{} // closed when none is left, or the moment is over
	late *time.Timer
}

func newPeers(n int, patience time.Duration) *peers {
	p := &peers{all: make(chan struct{})}
	p.left.Store(int64(n))
	p.late = time.AfterFunc(patience, p.open)
	return p
}

func (p *peers) open() { p.once.Do(func() { close(p.all) }) }

// told is called once for each stream.
func (p *peers) told() {
	if p != nil && p.left.Add(-1) == 0 {
		p.late.Stop()
		p.open()
	}
}

// wait returns when every peer was told.
func (p *peers) wait() {
	if p != nil {
		<-p.all
	}
}
