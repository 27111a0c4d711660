package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"gatehouse/internal/nowait"
)

// sock is the plain socket below a connection, and below its TLS if it has any. It can read without waiting, and can
// say when a read is about to wait.
type sock struct {
	net.Conn
	io *nowait.Conn

	now     bool   // Read never waits
	waiting func() // called by Read before it waits; nil for none
	eof     bool   // the peer has closed its side
}

func newSock(nc net.Conn) (*sock, error) {
	c, err := nowait.New(nc)
	if err != nil {
		return nil, err
	}
	return &sock{Conn: nc, io: c}, nil
}

// readNow reads without waiting; nowait.ErrWouldBlock if there is nothing.
func (s *sock) readNow(p []byte) (int, error) { return s.noted(s.io.TryRead(p)) }

// Read is net.Conn's, but for now and waiting. It is for one goroutine at a time.
func (s *sock) Read(p []byte) (int, error) {
	if s.now || s.waiting != nil {
		n, err := s.readNow(p)
		if s.now || err != nowait.ErrWouldBlock { //nolint:errorlint // never wrapped
			return n, err
		}
		s.waiting()
	}
	return s.noted(s.io.Read(p))
}

// noted remembers the end of the stream.
func (s *sock) noted(n int, err error) (int, error) {
	if err == io.EOF { //nolint:errorlint // never wrapped
		s.eof = true
	}
	return n, err
}

// Write is net.Conn's.
func (s *sock) Write(p []byte) (int, error) { return s.io.Write(p) }

// conn is one connection to an endpoint. One exchange uses it at a time.
type conn struct {
	ep        *endpoint
	sock      *sock
	rw        net.Conn // sock, or TLS over it
	secure    bool
	reused    bool
	idleSince time.Time
	writeBy   bool        // a write deadline is set
	cut       atomic.Bool // the time that its endpoint had to finish is over
	one       [1]byte

	// Under the endpoint's lock:
	before, after *conn  // among those that are busy
	part          func() // ends it when its endpoint's time is over, in a better way than breaking it off; nil for none
}

// abort ends the connection at once, from any goroutine and any number of times. Whoever reads or writes it gets an
// error. TLS is not asked: its Close may wait for a peer that does not read.
func (c *conn) abort() { c.sock.Conn.Close() }

// close ends a connection that no other goroutine uses.
func (c *conn) close() {
	if c.secure {
		c.sock.SetWriteDeadline(time.Now().Add(time.Second)) // for the close_notify
		c.rw.Close()
		return
	}
	c.abort()
}

// quiet reports whether an idle connection is still what it should be: open, with nothing to read. Bytes that no
// request asked for would be taken for the answer to the next one; a closed connection would fail it. late is whether the
// read deadline had passed before anybody looked.
func (c *conn) quiet() (quiet, late bool) {
	var n int
	var err error
	if c.secure {
		// Through TLS, because session tickets and what TLS has buffered already are not visible on the socket.
		c.sock.now = true
		n, err = c.rw.Read(c.one[:])
		c.sock.now = false
	} else {
		n, err = c.sock.readNow(c.one[:])
	}
	quiet = n == 0 && errors.Is(err, nowait.ErrWouldBlock)
	return quiet, !quiet && errors.Is(err, os.ErrDeadlineExceeded)
}

// truncated reports whether an io.EOF from the connection is one that an attacker in between could have made: TLS
// without close_notify (RFC 9112 section 9.8).
func (c *conn) truncated() bool { return c.secure && c.sock.eof }

// dial opens a connection, with its TLS handshake, within timeout, and counts it as busy. Its error has the Reason.
func (ep *endpoint) dial(ctx context.Context, timeout time.Duration) (*conn, *Error) {
	dctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(dctx, ep.addr.network, ep.addr.dial)
	if err != nil {
		return nil, ep.dialError(ctx, dctx, ReasonConnect, err)
	}
	s, err := newSock(nc)
	if err != nil {
		nc.Close()
		return nil, ep.dialError(ctx, dctx, ReasonConnect, err)
	}
	c := &conn{ep: ep, sock: s, rw: s}
	if ep.tls != nil {
		tc := tls.Client(s, ep.tls)
		if err := tc.HandshakeContext(dctx); err != nil {
			nc.Close()
			return nil, ep.dialError(ctx, dctx, ReasonTLS, err)
		}
		c.rw, c.secure = tc, true
	}
	ep.enter(c)
	return c, nil
}

func (ep *endpoint) dialError(ctx, dctx context.Context, reason Reason, err error) *Error {
	switch {
	case ctx.Err() != nil:
		reason = ReasonClientGone
	case dctx.Err() != nil, isTimeout(err):
		if reason == ReasonTLS {
			reason = ReasonTLSTimeout
		} else {
			reason = ReasonConnectTimeout
		}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		reason = ReasonRefused
	}
	return &Error{Address: ep.name, Reason: reason, Err: err}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
