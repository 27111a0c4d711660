package upstream

import "sync/atomic"

// Stats are what a pool has counted; a pool that succeeds another one goes on from there.
type Stats struct {
	Retries        int64 // attempts after the first
	RetriesRefused int64 // those that the budget did not allow
	Overloaded     int64 // requests that the circuit refused
	Ejections      int64 // endpoints left out because of their requests
	Failovers      int64 // requests that the failover upstream had
	Rebound        int64 // requests whose client was bound to an endpoint that is not well, or has gone
}

type stats struct{ retries, retriesRefused, overloaded, ejections, failovers, rebound atomic.Int64 }

// Stats may be called at any time.
func (p *Pool) Stats() Stats {
	s := p.stats
	return Stats{
		Retries: s.retries.Load(), RetriesRefused: s.retriesRefused.Load(), Overloaded: s.overloaded.Load(),
		Ejections: s.ejections.Load(), Failovers: s.failovers.Load(), Rebound: s.rebound.Load(),
	}
}
