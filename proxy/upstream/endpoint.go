package upstream

import (
	"crypto/tls"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint is one address of a pool, with its connections and what is known of it. It may outlive the pool: the one that
// a reload puts in its place takes it over. It is safe for concurrent use.
type endpoint struct {
	addr address
	name string // addr.String(), for results
	hash uint64 // of the name
	tls  *tls.Config

	unwell      atomic.Bool  // health checks say so
	known       atomic.Bool  // it has been well before
	suspect     atomic.Bool  // requests have failed, or it is left out because of that
	failures    atomic.Int32 // requests that failed in a row
	avoidUntil  atomic.Int64 // left out until then, in Unix nanoseconds, and until a request does well after; 0 if it is not
	trial       atomic.Int64 // such a request is under way, and others wait for it until then, in Unix nanoseconds; 0 for none
	newSince    atomic.Int64 // when it came, or was well again, in Unix nanoseconds; 0 if it was there from the start
	outstanding atomic.Int64 // requests that have a connection

	h2 *h2Conns // nil if it is spoken to in HTTP/1.1

	mu           sync.Mutex
	ejectedFor   time.Duration // the last time; 0 if it never was
	ejectedUntil time.Time

	holders int         // pools that have it
	idle    []*conn     // the last one was used last
	busy    *conn       // the first of those that have a request under way
	gone    bool        // keep no connection: there will be no other request
	over    bool        // nor those that are busy
	expiry  *time.Timer // sets over; nil if nothing is to end
}

func newEndpoint(a address, tc *tls.Config) *endpoint {
	ep := &endpoint{addr: a, name: a.String(), holders: 1}
	ep.hash = hashString(ep.name)
	if a.scheme == "https" {
		ep.tls = tc.Clone()
		ep.tls.ClientSessionCache = tls.NewLRUClientSessionCache(32)
		if ep.tls.ServerName == "" {
			ep.tls.ServerName = strings.TrimSuffix(a.name, ".")
		}
	}
	return ep
}

// get returns the idle connection that was used last, or nil, and counts it as busy. Connections past their time are closed.
func (ep *endpoint) get(now time.Time, timeout time.Duration) *conn {
	ep.mu.Lock()
	n := len(ep.idle)
	if n == 0 {
		ep.mu.Unlock()
		return nil
	}
	c := ep.idle[n-1]
	if now.Sub(c.idleSince) < timeout {
		ep.idle[n-1] = nil
		ep.idle = ep.idle[:n-1]
		ep.enterLocked(c)
		ep.mu.Unlock()
		return c
	}
	old := ep.idle // each was used before the one that is too old
	ep.idle = nil
	ep.mu.Unlock()
	closeAll(old)
	return nil
}

// put keeps a busy connection for later, or closes it. It also closes the oldest connection if that one is past its time.
func (ep *endpoint) put(c *conn, now time.Time, timeout time.Duration, limit int) {
	c.idleSince = now
	var drop [2]*conn
	ep.mu.Lock()
	ep.leaveLocked(c)
	if len(ep.idle) > 0 && now.Sub(ep.idle[0].idleSince) >= timeout {
		drop[0] = ep.idle[0]
		ep.idle = append(ep.idle[:0], ep.idle[1:]...)
	}
	if ep.gone || len(ep.idle) >= limit {
		drop[1] = c
	} else {
		ep.idle = append(ep.idle, c)
	}
	ep.mu.Unlock()
	for _, c := range drop {
		if c != nil {
			c.close()
		}
	}
}

// discard ends a busy connection.
func (ep *endpoint) discard(c *conn) {
	ep.mu.Lock()
	ep.leaveLocked(c)
	ep.mu.Unlock()
	c.abort()
}

// isGone reports whether there will be no other request.
func (ep *endpoint) isGone() bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.gone
}

// enter counts a new connection as busy.
func (ep *endpoint) enter(c *conn) {
	ep.mu.Lock()
	over := ep.over
	ep.enterLocked(c)
	ep.mu.Unlock()
	if over {
		c.expire()
	}
}

// onExpiry has end called instead of breaking a busy connection off.
func (ep *endpoint) onExpiry(c *conn, end func()) {
	ep.mu.Lock()
	over := ep.over
	c.part = end
	ep.mu.Unlock()
	if over {
		end()
	}
}

func (ep *endpoint) enterLocked(c *conn) {
	if c.after = ep.busy; c.after != nil {
		c.after.before = c
	}
	ep.busy = c
}

func (ep *endpoint) leaveLocked(c *conn) {
	if c.after != nil {
		c.after.before = c.before
	}
	if c.before != nil {
		c.before.after = c.after
	} else {
		ep.busy = c.after
	}
	c.before, c.after, c.part = nil, nil, nil
	if ep.busy == nil && ep.expiry != nil {
		ep.expiry.Stop() // nothing is left to end; a connection that comes after all is ended by its request
		ep.expiry = nil
	}
}

// hold counts one more pool that has ep.
func (ep *endpoint) hold() {
	ep.mu.Lock()
	ep.holders++
	ep.mu.Unlock()
}

// release counts one pool less. After the last one, what is idle is closed, and so is what becomes idle.
func (ep *endpoint) release() {
	ep.mu.Lock()
	ep.holders--
	var old []*conn
	if ep.holders <= 0 {
		old = ep.goLocked()
	}
	gone := ep.gone
	ep.mu.Unlock()
	closeAll(old)
	if gone && ep.h2 != nil {
		ep.h2.shut()
	}
}

// drain is for an endpoint that no pool chooses any more: connections are kept no longer than their requests last, and
// those no longer than delay.
func (ep *endpoint) drain(delay time.Duration) {
	ep.mu.Lock()
	old := ep.goLocked()
	switch {
	case delay > 0 && ep.expiry == nil && !ep.over:
		ep.expiry = time.AfterFunc(delay, ep.expire)
	case delay <= 0:
		defer ep.expire()
	}
	ep.mu.Unlock()
	closeAll(old)
	if ep.h2 != nil {
		ep.h2.shut()
	}
}

func (ep *endpoint) goLocked() (idle []*conn) {
	idle, ep.idle, ep.gone = ep.idle, nil, true
	return idle
}

// expire ends what drain left under way.
func (ep *endpoint) expire() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.over, ep.expiry = true, nil
	for c := ep.busy; c != nil; c = c.after {
		c.expire()
	}
}

// expire ends a busy connection whose endpoint has had its time.
func (c *conn) expire() {
	if c.part != nil {
		c.part()
		return
	}
	c.cut.Store(true)
	c.abort()
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
