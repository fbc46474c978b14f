package proxy

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/authn"
	"sallyport/proxy/observe"
)

// sharing notices that several people use one private address at about the same time.
// That is the sign of a proxy in front that does not name its clients, which makes every
// rule about networks useless. It decides nothing. A terminal server or a NAT inside
// looks the same.
type sharing struct {
	logger  *slog.Logger
	observe *observe.Observer // nil: no metrics
	seen    *otter.Cache[netip.Addr, *sharers]

	mu     sync.Mutex
	warned time.Time
}

// sharers are the people who used one address last.
type sharers struct {
	who   authn.Subject
	at    time.Time
	noted time.Time // when it was counted
}

const (
	sharingEntries = 4096
	sharingWindow  = 15 * time.Minute
	sharingEvery   = 10 * time.Minute // between two warnings
)

func newSharing(logger *slog.Logger, o *observe.Observer) (*sharing, error) {
	seen, err := otter.New(&otter.Options[netip.Addr, *sharers]{MaximumSize: sharingEntries})
	return &sharing{logger: logger, observe: o, seen: seen}, err
}

// add takes a visit of a signed-in person. It is called when a request is judged afresh:
// at least once a minute for each session, and not for each request.
func (s *sharing) add(n network, who authn.Subject, now time.Time) {
	if !n.Private || who == (authn.Subject{}) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.seen.GetIfPresent(n.Addr)
	if !ok {
		s.seen.Set(n.Addr, &sharers{who: who, at: now})
		return
	}
	several := last.who != who && now.Sub(last.at) < sharingWindow
	last.who, last.at = who, now
	if !several || now.Sub(last.noted) < sharingWindow && !last.noted.IsZero() {
		return
	}
	last.noted = now
	if s.observe != nil {
		s.observe.Shared.Inc()
	}
	if s.warned.IsZero() || now.Sub(s.warned) >= sharingEvery {
		s.warned = now
		s.logger.Warn("several people come from one private address", "hint", "a proxy in front may not name its clients", "ip", n.Addr, "internal", n.internal)
	}
}
