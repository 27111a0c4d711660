package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/nowait"
)

// A link is an accepted connection below TLS. It keeps the deadlines that handlers, net/http and crypto/tls set apart
// from the server's own and applies the earlier, and it ends a connection whose peer reads an answer too
// slowly. It is safe for concurrent use as a net.Conn is.
type link struct {
	net.Conn
	io     io.ReadWriter // Conn, without a word to the scheduler if it is a socket
	srv    *Server
	closed atomic.Bool
	slot   atomic.Bool // holds one of Server.handshakes
	phase  phase       // guarded by Server.mu

	http1   *conn // that reads from it, guarded by Server.mu too
	shaking bool  // a handshake is under way, by the goroutine that reads and writes
	try     bool  // reads do not wait

	client net.Addr // whom a load balancer named as the peer; nil if none did
	server net.Addr // where that one connected to; the same
	probe  bool     // a load balancer asks on its own behalf
	rest   []byte   // came with what it said, and is yet to be read

	mu    sync.Mutex
	in    deadline
	out   deadline
	paced bool

	writes pace // only in Write, which callers serialise
}

// pacedPiece is how much of an answer is waited for at a time, in bytes: at the minimum rate a client that takes nothing
// has as long as it may take.
const pacedPiece = 64 << 10

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

// A deadline is the earlier of two: that of who uses the connection, and the server's own. It is set only when the one
// that is set would come too late, because that costs a timer; one that comes too early is found out about then.
type deadline struct{ user, own, set time.Time }

// due is when the deadline really is; the zero time is never.
func (d *deadline) due() time.Time { return earlier(d.user, d.own) }

// late reports whether what is set must be replaced by due.
func (d *deadline) late() bool {
	due := d.due()
	return !due.IsZero() && (d.set.IsZero() || due.Before(d.set))
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
	l.in.user = t
	return l.setReadLocked()
}

func (l *link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.user = t
	return l.setWriteLocked()
}

func (l *link) setReadLocked() error {
	if !l.in.late() {
		return nil
	}
	l.in.set = l.in.due()
	return l.Conn.SetReadDeadline(l.in.set)
}

func (l *link) setWriteLocked() error {
	if !l.out.late() {
		return nil
	}
	l.out.set = l.out.due()
	return l.Conn.SetWriteDeadline(l.out.set)
}

// setReadOwn sets the server's own read deadline; the zero time is none.
func (l *link) setReadOwn(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in.own = t
	_ = l.setReadLocked() // fails only when the connection is closed
}

// await sets the server's own read deadline between two requests. Those of the handler before end there.
func (l *link) await(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in.user, l.out.user = time.Time{}, time.Time{}
	l.in.own = t
	_ = l.setReadLocked()
}

// ownExpired reports whether the server's own read deadline has passed.
func (l *link) ownExpired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.in.own.IsZero() && !time.Now().Before(l.in.own)
}

// setPaced turns the server's own limits on or off. They are off during the handshake, which has a timeout
// of its own, and for upgraded connections, which may be silent for as long as they like.
func (l *link) setPaced(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paced = on; !on {
		l.in.own, l.out.own = time.Time{}, time.Time{}
	}
}

// early reports whether err is that of a deadline which was set and is not due, and sets the one that is.
func (l *link) early(err error, d *deadline, set func(time.Time) error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	due := d.due()
	if !due.IsZero() && !time.Now().Before(due) {
		return false
	}
	d.set = due
	return set(due) == nil
}

func (l *link) Read(b []byte) (int, error) {
	if !l.shaking {
		return l.read(b)
	}
	l.srv.releaseHandshake(l)
	n, err := l.read(b)
	if n > 0 && !l.srv.takeHandshake(l) {
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}

// RemoteAddr is the client's.
func (l *link) RemoteAddr() net.Addr {
	if l.client != nil {
		return l.client
	}
	return l.Conn.RemoteAddr()
}

// LocalAddr is where the client connected to.
func (l *link) LocalAddr() net.Addr {
	if l.server != nil {
		return l.server
	}
	return l.Conn.LocalAddr()
}

func (l *link) read(b []byte) (int, error) {
	if len(l.rest) > 0 {
		n := copy(b, l.rest)
		if l.rest = l.rest[n:]; len(l.rest) == 0 {
			l.rest = nil
		}
		return n, nil
	}
	read := l.io.Read
	if l.try {
		read = l.tryRead
	}
	for {
		n, err := read(b)
		if n > 0 || !l.early(err, &l.in, l.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

func (l *link) tryRead(b []byte) (int, error) {
	if c, ok := l.io.(*nowait.Conn); ok {
		return c.TryRead(b)
	}
	return 0, nowait.ErrWouldBlock
}

func (l *link) Write(b []byte) (n int, err error) {
	l.srv.releaseHandshake(l)
	for {
		m, err := l.writePiece(b[n:min(len(b), n+pacedPiece)])
		if n += m; err != nil || n == len(b) {
			return n, err
		}
	}
}

// writePiece writes no more than may be waited for at a time.
func (l *link) writePiece(b []byte) (n int, err error) {
	start, paced := l.beginWrite(len(b))
	for {
		var m int
		m, err = l.io.Write(b[n:])
		n += m
		if !l.early(err, &l.out, l.Conn.SetWriteDeadline) {
			break
		}
	}
	if paced {
		l.writes.account(&l.srv.opts, time.Since(start), n)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.dropUnsent()
	}
	return n, err
}

func (l *link) beginWrite(n int) (start time.Time, paced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.paced {
		return time.Time{}, false
	}
	start = time.Now()
	l.out.own = start.Add(l.writes.allow(&l.srv.opts, n))
	_ = l.setWriteLocked()
	return start, true
}

// readFrom lets the kernel copy up to most bytes of a file (sendfile), in pieces small enough to be paced. What is no file
// is left alone: the time that it takes to come would be the client's.
func (l *link) readFrom(r io.Reader, most int64) (total int64, err error) {
	rf, ok := l.Conn.(io.ReaderFrom)
	limited, isLimited := r.(*io.LimitedReader) // the kernel copies from what lies behind one of these, not two
	if isLimited {
		r, most = limited.R, min(most, limited.N)
		defer func() { limited.N -= total }()
	}
	if !ok || !isFile(r) {
		return 0, nil
	}
	for total < most {
		want := min(pacedPiece, most-total)
		start, paced := l.beginWrite(int(want))
		l.mu.Lock()
		l.out.set = l.out.due() // exactly: how far the kernel has come at another one is not known
		err = l.Conn.SetWriteDeadline(l.out.set)
		l.mu.Unlock()
		if err != nil {
			return total, err
		}
		n, err := rf.ReadFrom(io.LimitReader(r, want))
		if paced {
			l.writes.account(&l.srv.opts, time.Since(start), int(n))
		}
		if total += n; err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// isFile reports whether r reads from a disk. What package os copies from is not an *os.File.
func isFile(r io.Reader) bool {
	f, ok := r.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
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

// reset closes the connection in a way that no peer takes for an end.
func (l *link) reset() {
	l.dropUnsent()
	_ = l.Close()
}

// dropUnsent has Close reset the connection. The kernel keeps what a peer does not take for minutes otherwise, megabytes of
// it, although nobody counts the connection any more.
func (l *link) dropUnsent() {
	if c, ok := l.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
}

// turn is the conn's; 1 if there is none, as net/http has connections that it looks after.
func (l *link) turn() uint32 {
	if l.http1 == nil {
		return 1
	}
	return l.http1.turn.Load()
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
