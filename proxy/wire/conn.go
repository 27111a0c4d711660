package wire

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// bufferSize holds nearly every head that does not fit net/http's own 4 KiB buffer.
	bufferSize = 8 << 10
	// lingerTime is how long what a client still sends is read away once it has been answered, lingerIdle how
	// long it may pause meanwhile: closing a socket with unread bytes resets it, and the client may lose the
	// answer (RFC 9112 section 9.6).
	lingerTime = 5 * time.Second
	lingerIdle = 500 * time.Millisecond
)

// A conn is what net/http serves for HTTP/1: Read returns only bytes that the framer released. Reading is for
// one goroutine at a time, as net/http does it.
type conn struct {
	net.Conn // a *tls.Conn, or the link itself
	link     *link
	srv      *Server
	f        framer

	// buf[r:v] was released and waits to be read; buf[v:w] is a unit that is not yet whole. nil when empty.
	buf     []byte
	r, v, w int

	raw       bool      // hijacked: bytes pass as they come
	stopped   error     // nothing more is released; what Read returns behind buf[r:v]
	reads     pace      // waiting for bytes of the current body
	headUntil time.Time // when the head that has begun must be whole
	early     bool      // bytes came between a request that asked for an upgrade and its answer

	// lines go into the head that net/http writes next, see HeadLines.
	lines  []byte
	status int
	addFn  func(status int, lines []byte) // c.addLines, bound once

	answered atomic.Bool // something was written since the last such request

	violation atomic.Pointer[violation]
	refused   atomic.Bool // a violation of either kind
	unread    atomic.Bool // the client has more of a body to send
}

// A violation is the synthetic request that stands for refused bytes.
type violation struct {
	host string
	err  *Error
}

type connKey struct{}

// Violation returns the reason when r is not a request that a client sent but stands for bytes that were
// refused at its place; it is then an *Error. The handler should refuse r with it and do nothing else: host,
// path and method of r mean nothing. The connection is closed behind the answer. For every other request,
// Violation returns nil.
func Violation(r *http.Request) error {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return nil
	}
	v := c.violation.Load()
	if v == nil || r.Host != v.host {
		return nil
	}
	return v.err
}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	if c := filterOf(nc); c != nil {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// A tlsConn has what net/http looks for to fill Request.TLS.
type tlsConn struct{ *conn }

func (c tlsConn) ConnectionState() tls.ConnectionState {
	return c.Conn.(*tls.Conn).ConnectionState()
}

// A plainConn has what net/http looks for to let the kernel copy.
type plainConn struct{ *conn }

func (c plainConn) ReadFrom(r io.Reader) (int64, error) {
	if c.lines != nil {
		return 0, errNoHead
	}
	return c.link.ReadFrom(r)
}

func filterOf(nc net.Conn) *conn {
	switch c := nc.(type) {
	case tlsConn:
		return c.conn
	case plainConn:
		return c.conn
	}
	return nil
}

func newConn(nc net.Conn, l *link) *conn {
	c := &conn{Conn: nc, link: l, srv: l.srv, f: framer{maxHead: l.srv.opts.MaxHeaderBytes}}
	c.addFn = c.addLines
	return c
}

// Read returns released bytes. net/http calls it with one byte of room while a handler runs, to learn of the
// client's going; then an unfinished head keeps waiting, and the bytes behind a request that asked for an
// upgrade stay here until the handler has taken the connection over or has answered.
func (c *conn) Read(p []byte) (int, error) {
	if c.raw {
		return c.readRaw(p)
	}
	background := len(p) == 1
	if c.f.state == held && !background && c.r == c.v {
		c.endHold()
	}
	for {
		if c.r < c.v {
			return c.deliver(p), nil
		}
		if c.stopped != nil {
			return c.readStopped(background)
		}
		if n, err := c.fill(p, background); n > 0 || err != nil {
			return n, err
		}
	}
}

// endHold runs when net/http comes for the next request although the last one asked for an upgrade: it was
// refused. Bytes that came before the answer were meant for a protocol that is not spoken here, so they are
// dropped and the connection ends; what a client sends after the answer is its next request, and may come
// before net/http has come back from it.
func (c *conn) endHold() {
	if c.early {
		c.refused.Store(true)
		c.stop(io.EOF)
		return
	}
	c.f.state = inHead
	if c.w > c.v {
		c.checkBuffer()
	}
}

// holding notes what came since a request that asked for an upgrade. given says that net/http has just got
// the last byte of it, and so the answer to the one before is out.
func (c *conn) holding(given bool) {
	if c.f.state != held {
		return
	}
	if given {
		c.answered.Store(false)
		c.early = false
	}
	c.early = c.early || c.w > c.v && !c.answered.Load()
}

// Write sends a part of an answer.
func (c *conn) Write(p []byte) (int, error) {
	c.answered.Store(true)
	if c.lines != nil {
		return c.writeHead(p)
	}
	return c.Conn.Write(p)
}

func (c *conn) deliver(p []byte) int {
	n := copy(p, c.buf[c.r:c.v])
	c.r += n
	c.holding(c.r == c.v)
	if c.r == c.w {
		c.dropBuffer()
	}
	return n
}

// fill reads once from the peer. It returns n > 0 when released bytes went straight into p.
func (c *conn) fill(p []byte, background bool) (int, error) {
	direct := c.buf == nil // an idle connection and one that waits for its handler hold no buffer
	into := p
	if !direct {
		if err := c.room(); err != nil {
			return 0, err
		}
		into = c.buf[c.w:]
	}
	body := c.arm(background)
	var start time.Time
	if body {
		start = time.Now()
	}
	n, err := c.Conn.Read(into)
	if body {
		c.reads.account(&c.srv.opts, time.Since(start), n)
	}
	if direct {
		n = c.checkDirect(p[:n])
	} else {
		c.w += n
		c.checkBuffer()
		c.holding(false)
		n = 0
	}
	if within := c.f.inBody(); within || body {
		c.unread.Store(within)
	}
	if n > 0 || c.r < c.v || c.stopped != nil || err == nil {
		return n, nil // the error comes again
	}
	if c.w == 0 {
		c.dropBuffer()
	}
	return 0, c.readError(err, background)
}

// arm sets the server's own deadline for the next read and reports whether it is one inside a body.
func (c *conn) arm(background bool) (body bool) {
	switch {
	case c.f.inBody():
		c.link.setReadOwn(time.Now().Add(c.reads.allow(&c.srv.opts, 0)))
		return true
	case c.f.state == inHead && c.w > 0 && !background:
		// net/http still counts this connection as idle, because it has seen no byte of the request.
		if c.headUntil.IsZero() {
			c.headUntil = time.Now().Add(c.srv.opts.ReadHeaderTimeout)
		}
		c.link.setReadOwn(c.headUntil)
	default:
		c.link.setReadOwn(time.Time{})
	}
	return false
}

// checkDirect checks bytes that lie in net/http's own buffer and keeps what is not released.
func (c *conn) checkDirect(b []byte) int {
	n, skip, err := c.f.scan(b)
	switch rest := b[n+skip:]; {
	case err != nil:
		c.violate(err)
	case len(rest) > 0:
		c.buf = c.srv.buffer(len(rest))
		c.w = copy(c.buf, rest)
		if skip > 0 {
			c.checkBuffer()
		}
	}
	if n > 0 {
		c.progressed()
	}
	c.holding(n > 0)
	return n
}

func (c *conn) checkBuffer() {
	for {
		n, skip, err := c.f.scan(c.buf[c.v:c.w])
		c.v += n
		if n > 0 {
			c.progressed()
		}
		if err != nil {
			c.violate(err)
			return
		}
		if skip == 0 {
			return
		}
		copy(c.buf[c.v:], c.buf[c.v+skip:c.w])
		c.w -= skip
	}
}

// progressed runs when a unit was released.
func (c *conn) progressed() {
	c.headUntil = time.Time{}
	if !c.f.inBody() {
		c.reads = pace{}
	}
}

// room makes space for more bytes behind buf[:w]. Only an unfinished unit or held bytes are in the buffer.
func (c *conn) room() error {
	if c.buf == nil {
		c.buf = c.srv.buffer(bufferSize)
	}
	if c.v > 0 {
		copy(c.buf, c.buf[c.v:c.w])
		c.r, c.v, c.w = 0, 0, c.w-c.v
	}
	if c.w < len(c.buf) {
		return nil
	}
	if c.f.state == held {
		// A client waits for 101 before it speaks the new protocol; this one will not be upgraded.
		c.refused.Store(true)
		c.stop(c.netError(errBytesAheadOf101))
		return c.stopped
	}
	bigger := make([]byte, 2*len(c.buf))
	copy(bigger, c.buf[:c.w])
	c.srv.recycle(c.buf)
	c.buf = bigger
	return nil
}

func (c *conn) dropBuffer() {
	c.srv.recycle(c.buf)
	c.buf = nil
	c.r, c.v, c.w = 0, 0, 0
}

func (c *conn) stop(err error) {
	c.stopped = err
	c.w = c.v
	if c.r == c.v {
		c.dropBuffer()
	}
}

// violate ends the stream at the last released byte. In a head, a synthetic request takes the place of the
// refused bytes, so that the handler answers; in a body, Read fails.
func (c *conn) violate(err *Error) {
	c.srv.violations.Add(1)
	c.refused.Store(true)
	if c.f.inBody() {
		c.stop(c.netError(err))
		return
	}
	var token [16]byte
	_, _ = rand.Read(token[:]) // never fails
	host := hex.EncodeToString(token[:]) + ".invalid"
	c.violation.Store(&violation{host, err})
	request := "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	released := c.buf[c.r:c.v]
	c.buf = append(append(make([]byte, 0, len(released)+len(request)), released...), request...)
	c.r, c.v, c.w = 0, len(c.buf), len(c.buf)
	c.stopped = io.EOF
}

// netError has the form of a failed read, because net/http writes an answer of its own for any other error
// that it meets between two requests. errors.As finds the *Error inside.
func (c *conn) netError(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// readStopped answers reads behind the end of the stream. A handler's context must not be cancelled while it
// answers the violation: net/http's background read takes no bytes and no error for nothing to report.
func (c *conn) readStopped(background bool) (int, error) {
	if background && c.stopped == io.EOF {
		return 0, nil
	}
	return 0, c.stopped
}

func (c *conn) readError(err error, background bool) error {
	slow := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case background:
	case slow && c.f.state == inHead && c.w > 0:
		c.violate(errHeadTimeout)
		return nil
	case slow && c.f.inBody() && c.link.ownExpired():
		c.srv.violations.Add(1)
		c.refused.Store(true)
		c.stop(c.netError(errBodyTooSlow))
		return c.stopped
	case err == io.EOF && c.f.inBody():
		c.stop(c.netError(errTruncated))
		return c.stopped
	}
	return err
}

// hijacked runs before the handler gets the connection: from here on bytes pass as they come, first those
// that were held back.
func (c *conn) hijacked() {
	c.raw = true
	c.v = c.w
	c.link.setPaced(false)
}

func (c *conn) readRaw(p []byte) (int, error) {
	if c.r < c.w {
		return c.deliver(p), nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends the sending direction; net/http and tunnels use it.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Close closes the connection, after reading away what a client still sends that was refused, or answered
// before its body was read. net/http does so for some of these bodies and not for others.
func (c *conn) Close() error {
	if c.refused.Load() || c.unread.Load() {
		_ = c.CloseWrite()
		c.link.linger()
	}
	return c.Conn.Close()
}
