package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstSize is what a connection holds for the bytes that it waits for, in bytes: all of a small request.
	firstSize = 512
	// bufferSize holds nearly every head, and an answer that is written at once.
	bufferSize = 8 << 10
	// lingerTime is how long what a client still sends is read away once it has been answered, lingerIdle how
	// long it may pause meanwhile: closing a socket with unread bytes resets it, and the client may lose the
	// answer (RFC 9112 section 9.6).
	lingerTime = 5 * time.Second
	lingerIdle = 500 * time.Millisecond
)

// A conn is an HTTP/1 connection. One goroutine reads its requests and runs the handler for each; see body and watch
// for what others do meanwhile.
type conn struct {
	nc     net.Conn // a *tls.Conn, or the link itself
	link   *link
	srv    *Server
	ctx    context.Context //nolint:containedctx // what its requests' have in common
	remote string
	tls    *tls.ConnectionState

	f     framer
	buf   []byte // first, or one of the server's, or a bigger one
	r, w  int    // buf[r:w] was read and not used yet
	reads pace   // waiting for bytes of the current body

	refused atomic.Bool // what the client still sends is not wanted

	// turn counts a request's beginning and its end: it is odd meanwhile.
	turn  atomic.Uint32
	swept uint32 // what the last sweep has seen of it

	mu       sync.Mutex
	current  *exchange     // that a handler answers now
	watching chan struct{} // closed by the goroutine that watches for the client's going, if there is one

	first [firstSize]byte
}

func newConn(nc net.Conn, l *link) *conn {
	c := &conn{nc: nc, link: l, srv: l.srv, remote: l.RemoteAddr().String(), f: framer{maxHead: l.srv.opts.MaxHeaderBytes}}
	c.ctx = connContext{context.Background(), c}
	c.buf = c.first[:]
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	return c
}

// Violation returns the reason when r is not a request that a client sent but stands for bytes that were
// refused at its place; it is then an *Error. The handler should refuse r with it and do nothing else: host,
// path and method of r mean nothing. The connection is closed behind the answer. For every other request,
// Violation returns nil.
func Violation(r *http.Request) error {
	if v, _ := r.Context().Value(violationKey{}).(*Error); v != nil {
		return v
	}
	return nil
}

// serve answers requests until the connection ends or becomes the handler's.
func (c *conn) serve() {
	defer c.srv.rescue(c.link)
	taken := false
	defer func() {
		if !taken {
			c.close()
		}
	}()
	for again := true; again; {
		x := c.next()
		if x == nil {
			return
		}
		again = c.answer(x)
		c.turn.Add(1)
		taken = x.hijacked
	}
}

// next reads a head. It returns nil when there is none to answer.
func (c *conn) next() *exchange {
	if !c.idle() {
		return nil
	}
	c.turn.Add(1)
	x := newExchange(c)
	c.f.into, c.reads = x, pace{}
	var until time.Time
	for {
		for c.r < c.w {
			n, skip, err := c.f.step(c.buf[c.r:c.w])
			c.r += n + skip
			switch {
			case err != nil:
				return c.violate(err)
			case n > 0:
				if c.r == c.w {
					c.dropBuffer() // a handler may take long
				}
				return x
			case skip == 0:
			default:
				continue
			}
			break
		}
		if until.IsZero() {
			until = time.Now().Add(c.srv.opts.ReadHeaderTimeout)
		}
		c.link.setReadOwn(until)
		if err := c.fill(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && c.r < c.w {
				return c.violate(errHeadTimeout)
			}
			return nil
		}
	}
}

// idle waits for the first bytes of a request, and holds no buffer meanwhile. It reports false if none come.
func (c *conn) idle() bool {
	if c.f.state == held { // the upgrade was refused, and what has come since is a request
		c.f.state = inHead
	}
	if c.r < c.w {
		c.link.await(time.Time{})
		return true
	}
	if c.srv.closing.Load() { // if this is too early to see it, Shutdown is late enough to see the end of the turn
		return false
	}
	c.dropBuffer()
	wait := c.srv.opts.IdleTimeout
	if c.turn.Load() == 0 {
		wait = c.srv.opts.ReadHeaderTimeout
	}
	c.link.await(time.Now().Add(wait))
	return c.fill() == nil
}

// fill reads once from the client into the buffer.
func (c *conn) fill() error {
	c.room()
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // the error comes again
	}
	return err
}

// room makes space for more bytes behind buf[:w].
func (c *conn) room() {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w < len(c.buf) {
		return
	}
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
		return
	}
	bigger := c.srv.buffer(max(bufferSize, 2*len(c.buf)))
	copy(bigger, c.buf[:c.w])
	c.srv.recycle(c.buf)
	c.buf = bigger
}

func (c *conn) dropBuffer() {
	c.srv.recycle(c.buf)
	c.buf, c.r, c.w = c.first[:], 0, 0
}

// refuse counts a violation. Nothing that the client sends after it is read.
func (c *conn) refuse(err *Error) *Error {
	c.srv.violations.Add(1)
	c.refused.Store(true)
	return err
}

// violate puts a request that stands for the bytes in the place of one that was refused, so that the handler answers.
func (c *conn) violate(err *Error) *exchange { return standIn(c, c.refuse(err)) }

// answer has the handler answer, and reports whether another request may follow.
func (c *conn) answer(x *exchange) (again bool) {
	c.mayWatch(x)
	c.srv.sweep()
	whole := c.handle(x)
	switch {
	case x.hijacked:
		return false
	case !whole:
		x.response.abandon()
		return false
	}
	x.response.finish()
	c.f.into = nil
	again = x.response.mayFollow()
	x.response.err = errLate
	if x.req.MultipartForm != nil {
		_ = x.req.MultipartForm.RemoveAll()
	}
	if x.early {
		c.refused.Store(true)
		return false
	}
	return again
}

// answered runs before the first byte of a final answer goes out. Bytes that came before the answer to a request that asked
// for an upgrade were meant for a protocol that is not spoken here. What comes after it is the client's next request.
func (x *exchange) answered() {
	if !x.held || !x.body.over.Load() {
		return
	}
	c := x.c
	was := c.unwatch() // nobody, when the handler has returned and the answer went out behind it
	if c.r == c.w {
		c.link.try = true
		_ = c.fill()
		c.link.try = false
	}
	x.early = c.r < c.w
	c.mayWatch(was)
}

// handle runs the handler. It reports false if that panicked.
func (c *conn) handle(x *exchange) (whole bool) {
	defer func() {
		c.unwatch()
		x.life.end()
		if whole {
			return
		}
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // net/http compares the panic value the same way
			c.srv.panicked(c.link, v)
		}
	}()
	c.srv.serveHTTP(&x.response, &x.req)
	return true
}

// close closes the connection, after reading away what a client still sends that was refused, or answered before its
// body was read.
func (c *conn) close() {
	if c.refused.Load() || c.f.inBody() {
		if t, ok := c.nc.(*tls.Conn); ok {
			_ = t.CloseWrite()
		}
		c.link.linger()
	}
	_ = c.nc.Close()
	if len(c.buf) == bufferSize {
		c.dropBuffer()
	}
}
