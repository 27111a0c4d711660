package upstream

// spec is an endpoint that a pool is to have.
type spec struct {
	address
	weight int
}

// replace makes the endpoints of the pool those in want, of which no two have the same address. One that the pool has
// already is kept, with its connections and all that is known of it. One that is not wanted any more gets no other
// request; those that it has may last as long as the pool's delay. One that is new has to pass a check first, if there
// are checks and others are well. It may be called while requests are under way, from one goroutine at a time.
func (p *Pool) replace(want []spec) {
	p.mu.Lock()
	if p.closed.Load() {
		p.mu.Unlock()
		return
	}
	have := make(map[address]*endpoint, len(p.members))
	for _, m := range p.members {
		have[m.addr] = m.endpoint
	}
	members := make([]member, 0, len(want))
	for _, s := range want {
		ep := have[s.address]
		delete(have, s.address)
		if ep == nil {
			ep = newEndpoint(s.address, p.tls)
			ep.unwell.Store(p.checks != nil && len(p.members) > 0)
			p.superviseLocked(ep)
		}
		members = append(members, member{ep, s.weight})
	}
	p.members = members
	p.planLocked(p.now())
	for _, ep := range have {
		if stop := p.watchers[ep]; stop != nil {
			stop()
			delete(p.watchers, ep)
		}
	}
	p.mu.Unlock()
	for _, ep := range have {
		ep.drain(p.delay)
	}
}
