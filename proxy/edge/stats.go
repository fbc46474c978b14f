package edge

import "sync/atomic"

// counters only ever grow, except open.
type counters struct {
	open                         atomic.Int64
	accepted                     atomic.Uint64
	refusedTotal, refusedClients atomic.Uint64
	longURLs, manyHeaders        atomic.Uint64
	slowBodies, slowReaders      atomic.Uint64
	http2Errors                  atomic.Uint64
}

// Stats is what a Server has counted, for metrics.
type Stats struct {
	OpenConnections int64 // now
	Requests        int64 // in handlers now, streams included
	Streams         int64 // of these, streams
	Accepted        uint64
	RefusedTotal    uint64 // connections beyond Limits.Connections
	RefusedClient   uint64 // connections beyond Limits.ConnectionsPerClient
	LongURLs        uint64 // 414
	ManyHeaders     uint64 // 431, for their number
	SlowBodies      uint64 // requests cut because their body did not come
	SlowReaders     uint64 // answers cut because the client did not read them
	HTTP2Errors     uint64 // protocol errors, floods included
}

// Stats is cheap to call.
func (s *Server) Stats() Stats {
	c := &s.counts
	return Stats{
		OpenConnections: c.open.Load(), Requests: s.handlers.Load(), Streams: s.streams.Load(), Accepted: c.accepted.Load(),
		RefusedTotal: c.refusedTotal.Load(), RefusedClient: c.refusedClients.Load(), LongURLs: c.longURLs.Load(),
		ManyHeaders: c.manyHeaders.Load(), SlowBodies: c.slowBodies.Load(), SlowReaders: c.slowReaders.Load(), HTTP2Errors: c.http2Errors.Load(),
	}
}
