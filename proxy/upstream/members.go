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
	have := byAddress(p.members)
	members := make([]member, 0, len(want))
	for _, s := range want {
		ep := have[s.address]
		delete(have, s.address)
		if ep == nil {
			if ep = newEndpoint(s.address, p.tls); p.http2 {
				ep.h2 = newH2Conns(ep, p)
			}
			p.comeLocked(ep, len(p.members) > 0)
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
	delay := p.delay
	p.mu.Unlock()
	for _, ep := range have {
		ep.drain(delay)
	}
}

// comeLocked notes that an endpoint is new where others have been before.
func (p *Pool) comeLocked(ep *endpoint, others bool) {
	if others {
		ep.unwell.Store(p.checks != nil)
		ep.newSince.Store(p.now().UnixNano())
	}
}

func byAddress(members []member) map[address]*endpoint {
	out := make(map[address]*endpoint, len(members))
	for _, m := range members {
		out[m.addr] = m.endpoint
	}
	return out
}

// Succeed has p, which has had no request and is not started, take the place of prev: the endpoints that both have go on as
// they are, with their connections, their health and the requests that prev has there. It is for before p has requests;
// prev.Retire is for when prev has no new ones any more.
func (p *Pool) Succeed(prev *Pool) {
	if p.names != nil && prev.names != nil {
		p.names.inheritFrom(p, prev.names)
	}
	prev.mu.Lock()
	defer prev.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats = prev.stats
	if p.circuit != nil && prev.circuit != nil {
		p.circuit.crowd = prev.circuit.crowd
	}
	have := map[address]*endpoint{}
	if p.sameWay(prev) {
		have = byAddress(prev.members)
	}
	prev.delay = p.delay
	prev.kept = map[*endpoint]bool{}
	members := make([]member, 0, len(p.members))
	for _, m := range p.members {
		ep := have[m.addr]
		if ep == nil {
			p.comeLocked(m.endpoint, len(prev.members) > 0)
			members = append(members, m)
			continue
		}
		ep.hold()
		prev.kept[ep] = true
		members = append(members, member{ep, m.weight})
	}
	p.members = members
	p.planLocked(p.now())
}

// sameWay reports whether connections of both pools are made alike, so that either may use those of the other. Those over
// HTTP/2 have their bounds from when they are made.
func (p *Pool) sameWay(q *Pool) bool {
	return sameTLS(p.tls, q.tls) &&
		(!p.http2 || p.maxIdle == q.maxIdle && p.idleTimeout == q.idleTimeout && p.responseTimeout == q.responseTimeout)
}

// Retire ends the checks of a pool that has no new requests any more, and takes those endpoints out that have not gone to
// one that succeeds it: requests that are under way there, WebSockets too, may last as long as the deregistration delay.
func (p *Pool) Retire() {
	p.halt()
	p.mu.Lock()
	members, kept, delay := p.members, p.kept, p.delay
	p.mu.Unlock()
	for _, m := range members {
		if !kept[m.endpoint] {
			m.drain(delay)
		}
	}
}
