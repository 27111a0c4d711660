package upstream

import (
	"fmt"
	"time"
)

// What requests say of the health of an endpoint.
const (
	// avoidFor is how long an endpoint that could not be connected to is left out at first, where nothing else is said.
	avoidFor = 5 * time.Second
	// maxEject bounds how long that grows: an endpoint that comes back is noticed after it at the latest.
	maxEject = 5 * time.Minute

	defaultFailures   = 5 // in a row; Envoy's consecutive_5xx
	maxFailures       = 1000
	defaultEject      = 30 * time.Second
	minEject          = time.Second
	defaultMaxEjected = 50
)

// PassiveConfig has endpoints left out of which requests say that they are not well. After a time that doubles, from Eject up
// to 5 minutes, each time that it is of no use, one request tries whether it is well again. Where clients can make the application
// fail, they can have endpoints left out: MaxEjected bounds that.
type PassiveConfig struct {
	// Failures is how many requests in a row must fail: that cannot connect, time out, get no whole answer head or a status
	// of Status; default 5.
	Failures int `yaml:"failures"`
	// Status are the answers that count as failures: numbers and ranges such as "502-504"; default "500-599".
	Status string `yaml:"status"`
	// Eject is how long an endpoint is left out at first; 1s to 5m, default 30s.
	Eject string `yaml:"eject"`
	// MaxEjected is the share of the endpoints, in percent, that is left out at most; at least one may always be, and those that
	// cannot be connected to. Default 50.
	MaxEjected int `yaml:"max_ejected"`
}

func (c PassiveConfig) validate(report func(field, msg string)) {
	if c.Failures < 0 || c.Failures > maxFailures {
		report("failures", fmt.Sprintf("want 1 to %d, got %d", maxFailures, c.Failures))
	}
	if _, err := parseStatuses(c.Status); err != nil {
		report("status", err.Error())
	}
	if d, err := parseTimeout(c.Eject, defaultEject); err != nil {
		report("eject", err.Error())
	} else if d < minEject || d > maxEject {
		report("eject", fmt.Sprintf("want %s to %s, got %s", minEject, maxEject, d))
	}
	if c.MaxEjected < 0 || c.MaxEjected > 100 {
		report("max_ejected", fmt.Sprintf("want a share of 1 to 100 percent, got %d", c.MaxEjected))
	}
}

// passive is what a pool makes of failures.
type passive struct {
	failures   int32
	status     statuses // nil: connecting alone tells
	eject      time.Duration
	maxEjected int // percent
}

// newPassive compiles c; nil says only that an endpoint that cannot be connected to is left out for a moment.
func newPassive(c *PassiveConfig) (passive, error) {
	if c == nil {
		return passive{failures: 1, eject: avoidFor, maxEjected: 100}, nil
	}
	k := passive{failures: int32(c.Failures), maxEjected: c.MaxEjected} //nolint:gosec // Validate bounds it
	if k.failures == 0 {
		k.failures = defaultFailures
	}
	if k.maxEjected == 0 {
		k.maxEjected = defaultMaxEjected
	}
	status := c.Status
	if status == "" {
		status = "500-599"
	}
	var err error
	if k.status, err = parseStatuses(status); err != nil {
		return k, err
	}
	k.eject, err = parseTimeout(c.Eject, defaultEject)
	return k, err
}

// answered notes that an endpoint has answered with a status.
func (p *Pool) answered(ep *endpoint, status int) {
	switch {
	case p.passive.status.has(status):
		p.failed(ep, fmt.Sprintf("status %d", status), false)
	case ep.suspect.Load():
		p.recovered(ep)
	}
}

// broke notes that a request got no answer from an endpoint. What the client did to it says nothing.
func (p *Pool) broke(ep *endpoint, err *Error) {
	unreachable := false
	switch err.Reason {
	case ReasonRefused, ReasonConnect, ReasonTLS, ReasonTLSTimeout, ReasonConnectTimeout:
		unreachable = true
	case ReasonWrite, ReasonNoResponse, ReasonTimeout, ReasonMalformed, ReasonHeadTooLarge:
		if p.passive.status == nil {
			return
		}
	default:
		return
	}
	p.failed(ep, string(err.Reason), unreachable)
}

// failed counts a failure, and leaves the endpoint out after so many of them, or after one that was to show whether it is
// well again. One that is unreachable is left out whatever the share of those that are: it is of no use to anybody.
func (p *Pool) failed(ep *endpoint, why string, unreachable bool) {
	ep.suspect.Store(true)
	n, now := ep.failures.Add(1), p.now()
	if tried := ep.avoidUntil.Load() != 0; n < p.passive.failures && !tried || ep.avoided(now) {
		return
	}
	p.mu.Lock()
	out := 1
	for _, m := range p.members {
		if m.endpoint != ep && m.avoidUntil.Load() != 0 {
			out++
		}
	}
	if ep.avoided(now) || !unreachable && out > 1 && out*100 > p.passive.maxEjected*len(p.members) {
		p.mu.Unlock()
		return
	}
	news := ep.avoidUntil.Load() == 0
	ep.eject(now, p.passive.eject)
	p.planLocked(now)
	changed := p.changed
	p.mu.Unlock()
	p.stats.ejections.Add(1)
	if news && changed != nil {
		changed(Health{Upstream: p.name, Address: ep.name, Reason: why})
	}
}

// recovered notes that an endpoint that has failed does so no more. While it is left out, a request says nothing that had
// begun before: its time has to pass, unless all get requests.
func (p *Pool) recovered(ep *endpoint) {
	now := p.now()
	if ep.avoided(now) && !p.current(now).open {
		return
	}
	ep.suspect.Store(false)
	ep.failures.Store(0)
	if ep.avoidUntil.Swap(0) == 0 {
		return
	}
	ep.newSince.Store(now.UnixNano())
	p.mu.Lock()
	p.planLocked(now)
	changed := p.changed
	p.mu.Unlock()
	if changed != nil && !ep.unwell.Load() {
		changed(Health{Upstream: p.name, Address: ep.name, Well: true})
	}
}

// eject leaves an endpoint out for as long as before, doubled, if it has not been of use since for as long as that.
func (ep *endpoint) eject(now time.Time, least time.Duration) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.ejectedFor == 0 || now.Sub(ep.ejectedUntil) > ep.ejectedFor {
		ep.ejectedFor = least
	} else {
		ep.ejectedFor = max(min(2*ep.ejectedFor, maxEject), least)
	}
	ep.ejectedUntil = now.Add(ep.ejectedFor)
	ep.failures.Store(0)
	ep.avoidUntil.Store(ep.ejectedUntil.UnixNano())
}

// avoided reports whether the endpoint is left out because of its failures.
func (ep *endpoint) avoided(now time.Time) bool { return ep.avoidUntil.Load() > now.UnixNano() }
