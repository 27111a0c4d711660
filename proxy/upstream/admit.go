package upstream

// admit chooses the first endpoint and counts the request there. Where the circuit has no room, it waits if it may.
func (x *exchange) admit() (*endpoint, *Error) {
	if n := x.p.names; n != nil {
		n.wait(x.ctx, x.p.connectTimeout)
	}
	k := x.p.circuit
	if k == nil || k.waiting.Load() == 0 {
		x.turn = x.p.rotation(x.p.now(), x.h.opts.Failover, x)
		ep, err := x.take()
		if err == nil || k == nil || err.Reason != ReasonOverloaded {
			return ep, err
		}
	}
	if ep := x.queue(k); ep != nil {
		return ep, nil
	}
	if x.ctx.Err() != nil {
		return nil, x.gone()
	}
	x.p.stats.overloaded.Add(1)
	return nil, &Error{Reason: ReasonOverloaded}
}

// take counts the request at the next endpoint that has room for it. The pool is that endpoint's from then on.
func (x *exchange) take() (*endpoint, *Error) {
	reason := ReasonNoEndpoint
	for {
		ep, p := x.turn.next()
		if ep == nil {
			return nil, &Error{Reason: reason}
		}
		if !p.enter(ep) {
			reason = ReasonOverloaded
			x.turn.full = x.result.Attempts == 0
			continue
		}
		if p != x.p {
			x.moveTo(p)
		}
		x.at = ep
		return ep, nil
	}
}

// moveTo has the exchange go on with the failover pool, or back from it.
func (x *exchange) moveTo(p *Pool) {
	x.p = p
	x.result.Upstream, x.result.Failover = p.name, p != x.h.p
	if x.result.Failover {
		x.h.p.stats.failovers.Add(1)
	}
}

// queue waits for room.
func (x *exchange) queue(k *circuit) (ep *endpoint) {
	k.await(x.ctx, x.p.connectTimeout, func() bool {
		x.turn.endTrial()
		x.turn = x.h.p.rotation(x.p.now(), x.h.opts.Failover, x)
		ep, _ = x.take()
		return ep != nil
	})
	return ep
}

// another is the next endpoint of a request that was not sent; nil if it may not be tried again.
func (x *exchange) another() *endpoint {
	home := x.p
	if x.result.Attempts == home.retries.attempts-1 {
		x.turn.spare() // the last one
	}
	ep, err := x.take()
	if err != nil {
		return nil
	}
	if !home.mayRepeat(x.result.Attempts) {
		x.p.leave(ep)
		return nil
	}
	return ep
}
