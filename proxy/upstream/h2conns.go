package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How much of an answer an upstream may send ahead of its client, in bytes: of one stream, and of a connection. The
// second does not bind, or a few clients that do not read would stop everybody else on the connection.
const (
	h2StreamWindow = 256 << 10
	h2ConnWindow   = 1 << 30
)

// h2Conns is the HTTP/2 connections to one endpoint. A request takes a stream of the first that has room; there is one
// dial at a time, for which everybody waits who found no room. It is safe for concurrent use.
type h2Conns struct {
	ep        *endpoint
	transport *http.Transport // frames, flow control and HPACK; it neither dials nor keeps anything
	scheme    string
	limit     int // how many connections

	mu      sync.Mutex
	conns   []*h2Conn
	dialing *h2Dial

	waitMu  sync.Mutex    // not mu: a connection may tell of its state while it is asked for a stream
	changed chan struct{} // closed when a stream may have become free; nil while nobody waits
}

// h2Conn is one connection, which counts as busy as long as it is open.
type h2Conn struct {
	*http.ClientConn
	conn    *conn
	last    atomic.Bool // it gets no more requests
	discard sync.Once
}

// h2Dial is a dial that others wait for.
type h2Dial struct {
	done chan struct{}
	err  *Error // valid after done
}

// dialed is the context key of a connection that is made already.
type dialed struct{}

func newH2Conns(ep *endpoint, p *Pool) *h2Conns {
	given := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, ok := ctx.Value(dialed{}).(net.Conn)
		if !ok {
			return nil, errors.New("no connection given")
		}
		return c, nil
	}
	h := &h2Conns{ep: ep, scheme: "http", limit: p.maxIdle}
	protocols := new(http.Protocols)
	if ep.tls != nil {
		h.scheme = "https"
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	h.transport = &http.Transport{
		DialContext: given, DialTLSContext: given, Protocols: protocols,
		IdleConnTimeout: p.idleTimeout, DisableCompression: true,
		MaxResponseHeaderBytes: maxHead, ExpectContinueTimeout: continueWait,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: h2StreamWindow, MaxReceiveBufferPerConnection: h2ConnWindow,
			WriteByteTimeout: p.responseTimeout,
			// None, in effect. Requests of many people share a connection, and a table that they share lets one of
			// them find out what another sent by how well a guess is compressed (RFC 7541 section 7.1).
			MaxEncoderHeaderTableSize: 1,
		},
	}
	return h
}

// acquire returns a connection with a stream reserved on it: one RoundTrip or Release must follow. It waits for at most
// timeout where the endpoint has no room and may not be given another connection. One that dials does not leave with its client.
func (h *h2Conns) acquire(ctx context.Context, timeout time.Duration) (cc *h2Conn, reused bool, err *Error) {
	if cc := h.reserve(); cc != nil {
		return cc, true, nil
	}
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		changed := h.wait() // before the look, or a change between them would be missed
		if cc := h.reserve(); cc != nil {
			return cc, true, nil
		}
		d, mine := h.turn()
		if mine {
			cc, err := h.dial(context.WithoutCancel(ctx), timeout) // others wait for it too
			h.dialEnded(d, err)
			return cc, false, err
		}
		var done <-chan struct{}
		if d != nil {
			done = d.done
		}
		select {
		case <-done:
			if d.err != nil {
				failed := *d.err
				return nil, false, &failed
			}
		case <-changed:
		case <-ctx.Done():
			return nil, false, &Error{Address: h.ep.name, Reason: ReasonClientGone, Err: ctx.Err()}
		case <-late.C:
			return nil, false, &Error{Address: h.ep.name, Reason: ReasonBusy}
		}
	}
}

// reserve takes a stream of a connection that has room, or returns nil.
func (h *h2Conns) reserve() *h2Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	live := h.conns[:0]
	var found *h2Conn
	for _, cc := range h.conns {
		if cc.Err() != nil {
			continue
		}
		live = append(live, cc)
		if found == nil && !cc.last.Load() && cc.Reserve() == nil {
			found = cc
		}
	}
	clear(h.conns[len(live):])
	h.conns = live
	return found
}

// turn returns the dial to wait for, or a new one that is the caller's to make. It returns nil at the limit.
func (h *h2Conns) turn() (d *h2Dial, mine bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.dialing != nil:
		return h.dialing, false
	case len(h.conns) >= h.limit:
		return nil, false
	}
	h.dialing = &h2Dial{done: make(chan struct{})}
	return h.dialing, true
}

func (h *h2Conns) dialEnded(d *h2Dial, err *Error) {
	h.mu.Lock()
	h.dialing = nil
	h.mu.Unlock()
	d.err = err
	close(d.done)
}

// dial opens a connection and reserves its first stream.
func (h *h2Conns) dial(ctx context.Context, timeout time.Duration) (*h2Conn, *Error) {
	c, derr := h.ep.dial(ctx, timeout)
	if derr != nil {
		return nil, derr
	}
	if tc, ok := c.rw.(*tls.Conn); ok {
		if got := tc.ConnectionState().NegotiatedProtocol; got != "h2" {
			h.ep.discard(c)
			return nil, &Error{Address: h.ep.name, Reason: ReasonTLS, Err: fmt.Errorf("protocol: want h2, got %q", got)}
		}
	}
	made, err := h.transport.NewClientConn(context.WithValue(ctx, dialed{}, c.rw), h.scheme, "endpoint:0")
	if err == nil {
		err = made.Reserve()
	}
	if err != nil {
		h.ep.discard(c)
		return nil, &Error{Address: h.ep.name, Reason: ReasonConnect, Err: err}
	}
	cc := &h2Conn{ClientConn: made, conn: c}
	h.mu.Lock()
	h.conns = append(h.conns, cc)
	h.mu.Unlock()
	cc.SetStateHook(func(*http.ClientConn) { h.stateChanged(cc) })
	if h.ep.isGone() {
		cc.last.Store(true)
	}
	return cc, nil
}

// stateChanged is called by a connection when a stream has ended and when it has itself. It must not take mu.
func (h *h2Conns) stateChanged(cc *h2Conn) {
	if cc.last.Load() && cc.InFlight() == 0 {
		cc.Close()
	}
	if cc.Err() != nil {
		cc.discard.Do(func() { h.ep.discard(cc.conn) })
	}
	h.waitMu.Lock()
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
	h.waitMu.Unlock()
}

func (h *h2Conns) wait() <-chan struct{} {
	h.waitMu.Lock()
	defer h.waitMu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// forget gives no more requests to a connection of which nothing has come for too long. Those on it go on.
func (h *h2Conns) forget(cc *h2Conn) {
	h.mu.Lock()
	h.conns = slices.DeleteFunc(h.conns, func(other *h2Conn) bool { return other == cc })
	h.mu.Unlock()
	h.finish(cc)
}

// shut closes the connections, each when its last request is over.
func (h *h2Conns) shut() {
	h.mu.Lock()
	conns := slices.Clone(h.conns)
	h.mu.Unlock()
	for _, cc := range conns {
		h.finish(cc)
	}
}

// finish closes a connection when its last request is over.
func (h *h2Conns) finish(cc *h2Conn) {
	cc.last.Store(true)
	h.stateChanged(cc)
}
