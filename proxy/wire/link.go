package wire

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/nowait"
)

// A link is an accepted connection below TLS. It keeps the deadlines that net/http and crypto/tls set apart
// from the server's own and applies the earlier, and it ends a connection whose peer reads an answer too
// slowly. It is safe for concurrent use as a net.Conn is.
type link struct {
	net.Conn
	io     io.ReadWriter // Conn, without a word to the scheduler if it is a socket
	srv    *Server
	closed atomic.Bool
	slot   atomic.Bool // holds one of Server.handshakes
	phase  phase       // guarded by Server.mu

	mu        sync.Mutex
	readUser  time.Time
	readOwn   time.Time
	writeUser time.Time
	writeOwn  time.Time
	paced     bool

	writes pace // only in Write, which callers serialise
}

// A pace is a leaky bucket of waiting time: time spent waiting for the peer fills it, bytes that moved drain
// it at the minimum rate. Fast beginnings earn no credit.
type pace struct{ debt time.Duration }

// allow is how long the next wait may last when n bytes are to move.
func (p *pace) allow(o *Options, n int) time.Duration {
	return o.BodyGrace - p.debt + o.worth(n)
}

func (p *pace) account(o *Options, waited time.Duration, n int) {
	p.debt = max(0, p.debt+waited-o.worth(n))
}

// worth is how long n bytes may take at the minimum rate.
func (o *Options) worth(n int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(o.MinRate)
}

func newLink(nc net.Conn, s *Server) *link {
	l := &link{Conn: nc, io: nc, srv: s}
	if c, err := nowait.New(nc); err == nil {
		l.io = c
	}
	return l
}

func (l *link) SetDeadline(t time.Time) error {
	err := l.SetReadDeadline(t)
	if werr := l.SetWriteDeadline(t); err == nil {
		err = werr
	}
	return err
}

func (l *link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readUser = t
	return l.Conn.SetReadDeadline(earlier(t, l.readOwn))
}

func (l *link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeUser = t
	return l.Conn.SetWriteDeadline(earlier(t, l.writeOwn))
}

// setReadOwn sets the server's own read deadline; the zero time is none.
func (l *link) setReadOwn(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.IsZero() && l.readOwn.IsZero() {
		return
	}
	l.readOwn = t
	_ = l.Conn.SetReadDeadline(earlier(l.readUser, t)) // fails only when the connection is closed
}

// ownExpired reports whether the server's own read deadline has passed.
func (l *link) ownExpired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.readOwn.IsZero() && !time.Now().Before(l.readOwn)
}

// setPaced turns the server's own limits on or off. They are off during the handshake, which has a timeout
// of its own, and for upgraded connections, which may be silent for as long as they like.
func (l *link) setPaced(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paced = on
	if !on {
		l.readOwn, l.writeOwn = time.Time{}, time.Time{}
		_ = l.Conn.SetReadDeadline(l.readUser)
		_ = l.Conn.SetWriteDeadline(l.writeUser)
	}
}

func (l *link) Read(b []byte) (int, error) { return l.io.Read(b) }

func (l *link) Write(b []byte) (int, error) {
	l.srv.releaseHandshake(l)
	start, ok := l.beginWrite(len(b))
	if !ok {
		return l.io.Write(b)
	}
	n, err := l.io.Write(b)
	l.writes.account(&l.srv.opts, time.Since(start), n)
	return n, err
}

func (l *link) beginWrite(n int) (start time.Time, paced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.paced {
		return time.Time{}, false
	}
	start = time.Now()
	l.writeOwn = start.Add(l.writes.allow(&l.srv.opts, n))
	_ = l.Conn.SetWriteDeadline(earlier(l.writeUser, l.writeOwn))
	return start, true
}

// ReadFrom lets the kernel copy (sendfile, splice) in pieces small enough to be paced.
func (l *link) ReadFrom(r io.Reader) (total int64, err error) {
	rf, ok := l.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(writerOnly{l}, r)
	}
	const piece = 64 << 10
	for {
		start, paced := l.beginWrite(piece)
		n, err := rf.ReadFrom(io.LimitReader(r, piece))
		if paced {
			l.writes.account(&l.srv.opts, time.Since(start), int(n))
		}
		total += n
		if err != nil || n < piece {
			return total, err
		}
	}
}

// writerOnly hides ReadFrom from io.Copy.
type writerOnly struct{ io.Writer }

// CloseWrite ends the sending direction where the connection can do that.
func (l *link) CloseWrite() error {
	if cw, ok := l.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Close closes the connection and takes it off the server's books. It may be called any number of times.
func (l *link) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	err := l.Conn.Close()
	l.srv.forget(l)
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// linger ends the sending direction and reads away what the peer still sends, within bounds.
func (l *link) linger() {
	_ = l.CloseWrite()
	end := time.Now().Add(lingerTime)
	var dropped [4 << 10]byte
	for {
		_ = l.Conn.SetReadDeadline(earlier(end, time.Now().Add(lingerIdle)))
		if _, err := l.Conn.Read(dropped[:]); err != nil {
			return
		}
	}
}
