package wire

import (
	"bytes"
	"errors"
	"os"
	"time"
)

const (
	// sweepEvery is how often the server looks for handlers that take long. One that has been running since the look
	// before has its client watched, so that a client's going is noticed after one to two of these. Most handlers are
	// faster, and to start a goroutine for each and stop it again would cost them more than all else here.
	sweepEvery = 100 * time.Millisecond
	// idleSweeps is how many looks in vain end the looking.
	idleSweeps = 20
)

// sweep makes sure that the server looks for handlers that take long.
func (s *Server) sweep() {
	if s.sweeping.Load() || !s.sweeping.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.serving.Go(s.sweepLoop)
}

func (s *Server) sweepLoop() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for idle := 0; ; {
		select {
		case <-ticker.C:
		case <-s.over:
			return
		}
		if idle++; s.sweepOnce() {
			idle = 0
		}
		if idle < idleSweeps {
			continue
		}
		s.sweeping.Store(false)
		// A handler that began before that has found the sweep running.
		if !s.sweepOnce() || !s.sweeping.CompareAndSwap(false, true) {
			return
		}
		idle = 0
	}
}

// sweepOnce looks at each connection, and reports whether any handler runs.
func (s *Server) sweepOnce() (busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		if l.http1 != nil && l.phase == serving && l.http1.look() {
			busy = true
		}
	}
	return busy
}

// look has the client watched if the request is the one of the last look. It reports whether there is a request.
func (c *conn) look() bool {
	turn := c.turn.Load()
	if turn == c.swept && turn%2 == 1 {
		c.watch()
	}
	c.swept = turn
	return turn%2 == 1
}

// watch starts the goroutine that notices when the client goes, unless the handler has yet to read the body: it will
// notice then.
func (c *conn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.current
	if x == nil || c.watching != nil || x.violation != nil || !x.body.over.Load() {
		return
	}
	c.watching = make(chan struct{})
	c.link.setReadOwn(time.Time{})
	go c.watchFor(x, c.watching)
}

// watchFor reads what the client sends meanwhile, which waits in the buffer. It stops at a whole head, as the client
// may send nothing more for good reason then.
func (c *conn) watchFor(x *exchange, done chan<- struct{}) {
	defer close(done)
	for {
		switch b := c.buf[c.r:c.w]; {
		case len(b) >= bufferSize && x.held:
			// A client waits for 101 before it speaks the new protocol; this one will not be upgraded.
			c.refused.Store(true)
			x.life.end()
			return
		case len(b) >= bufferSize, !x.held && bytes.Contains(b, []byte("\r\n\r\n")):
			return
		}
		if err := c.fill(); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) { // which is unwatch, or the handler's
				x.life.end()
			}
			return
		}
	}
}

// unwatch ends the watching. The connection's reading side is the caller's from then on. It returns the exchange whose
// client was to be watched, if the handler was still running.
func (c *conn) unwatch() (was *exchange) {
	c.mu.Lock()
	was = c.current
	c.current = nil
	watching := c.watching
	c.watching = nil
	c.mu.Unlock()
	if watching == nil {
		return was
	}
	_ = c.link.SetReadDeadline(time.Unix(1, 0))
	<-watching
	_ = c.link.SetReadDeadline(time.Time{})
	return was
}

// mayWatch lets the sweep have the client of x watched, until unwatch.
func (c *conn) mayWatch(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = x
}
