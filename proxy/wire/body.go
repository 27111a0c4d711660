package wire

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxUnread is how much of a body that a handler has not read is read away to keep the connection, as net/http does.
	maxUnread = 256 << 10
	// directRead is what must be missing of a body to be read past the connection's own buffer.
	directRead = 4 << 10
)

// A body is the body of an exchange's request. It is read by one goroutine at a time, not always the handler's.
type body struct {
	x           *exchange
	expect      bool        // the client waits for 100 Continue
	over        atomic.Bool // there is none, or it has been read to its end
	mayContinue atomic.Bool // 100 Continue can still be sent

	mu      sync.Mutex
	closed  bool
	err     error
	trailer http.Header
}

// Read reads the content, without its framing. A stream that breaks the rules, breaks off or is too slow is an *Error.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.readLocked(p)
}

func (b *body) readLocked(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	case b.mayContinue.Load():
		b.x.response.sendContinue()
	}
	n, err := b.x.c.readBody(p)
	if err == io.EOF { //nolint:errorlint // readBody's own
		b.finish()
	} else if v, refused := err.(*Error); err != nil && (!refused || v == errTruncated) { //nolint:errorlint // readBody's own
		// As net/http does it: nothing more can come from this client. One that broke the rules waits for its 400, which
		// whoever forwards the body must come to tell before anything looks as if nobody were there.
		b.x.life.end()
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) { // of the handler's own
		b.err = err
	}
	return n, err
}

// finish runs at the end of the body, with its trailers in hand.
func (b *body) finish() {
	if b.trailer != nil {
		if b.x.req.Trailer == nil {
			b.x.req.Trailer = b.trailer
		} else {
			for key, values := range b.trailer {
				b.x.req.Trailer[key] = values
			}
		}
	}
	b.over.Store(true)
}

// Close makes later reads fail. What was not read is read away when the handler has returned, if it is not much.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// drain reads away what is left if it is not much, and closes the body. It reports whether that was the end of it.
func (b *body) drain() bool {
	if b.over.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.x.c
	if b.err != nil || c.f.state == inLength && c.f.left > maxUnread {
		return false
	}
	b.closed = true
	buf := c.srv.buffer(bufferSize)
	defer c.srv.recycle(buf)
	for total := 0; total <= maxUnread; {
		n, err := b.readLocked(buf)
		total += n
		if err != nil {
			return err == io.EOF //nolint:errorlint // readBody's own
		}
	}
	return false
}

// readBody reads content of the body that the stream stands in. io.EOF may come with the last of it.
func (c *conn) readBody(p []byte) (n int, err error) {
	for {
		n, violation := c.decode(p)
		switch {
		case violation != nil:
			return n, c.refuse(violation)
		case !c.f.inBody():
			return n, io.EOF
		case n > 0:
			return n, nil
		}
		if most := min(int64(len(p)), c.f.left); c.f.inContent() && most >= directRead {
			n, err := c.receive(p[:most])
			c.f.took(n)
			if n > 0 && !c.f.inBody() {
				err = io.EOF
			}
			return n, err
		}
		c.room()
		m, err := c.receive(c.buf[c.w:])
		if c.w += m; err != nil {
			return 0, err
		}
	}
}

// decode takes content out of the buffer, and the framing around it, as far as both reach.
func (c *conn) decode(p []byte) (n int, violation *Error) {
	for c.r < c.w && c.f.inBody() {
		b := c.buf[c.r:c.w]
		if c.f.inContent() {
			if n == len(p) {
				break
			}
			m := copy(p[n:], b[:min(c.f.left, int64(len(b)))])
			c.f.took(m)
			c.r += m
			n += m
			continue
		}
		before := c.f.state
		m, _, violation := c.f.step(b)
		if violation != nil {
			return n, violation
		}
		if c.r += m; m == 0 && c.f.state == before {
			break
		}
	}
	return n, nil
}

// receive waits for bytes of a body, for no longer than the pace allows.
func (c *conn) receive(into []byte) (int, error) {
	start := time.Now()
	c.link.setReadOwn(start.Add(c.reads.allow(&c.srv.opts, 0)))
	n, err := c.nc.Read(into)
	c.reads.account(&c.srv.opts, time.Since(start), n)
	switch {
	case n > 0:
		return n, nil // the error comes again
	case err == io.EOF: //nolint:errorlint // a connection's own
		c.refused.Store(true)
		return 0, errTruncated
	case errors.Is(err, os.ErrDeadlineExceeded) && c.link.ownExpired():
		return 0, c.refuse(errBodyTooSlow)
	}
	return 0, err
}
