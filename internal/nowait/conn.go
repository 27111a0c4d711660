package nowait

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// maxPiece bounds one call, in bytes, and with it how long the scheduler does not get its processor back: the
// kernel copies this much in some 20 µs.
const maxPiece = 64 << 10

// ErrWouldBlock says that TryRead found nothing. It is temporary, so that crypto/tls keeps no memory of it.
var ErrWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "read would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// A Conn reads and writes as the connection that it was made of does, deadlines and errors included; everything
// else is for that connection. It is safe for concurrent use.
type Conn struct {
	nc  net.Conn
	raw syscall.RawConn

	reading sync.Mutex
	in      transfer
	pull    func(fd uintptr) bool // bound once, so that a call allocates nothing
	look    func(fd uintptr) bool

	writing sync.Mutex
	out     transfer
	push    func(fd uintptr) bool
}

// A transfer is what one call is to move, and what has come of it.
type transfer struct {
	p   []byte
	n   int
	err error
}

// New returns a Conn for nc, or an error if nc has no file descriptor.
func New(nc net.Conn) (*Conn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.New("connection has no file descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{nc: nc, raw: raw}
	c.pull = func(fd uintptr) bool { return !c.in.read(fd) }
	c.look = func(fd uintptr) bool {
		c.in.read(fd)
		return true // never wait
	}
	c.push = func(fd uintptr) bool { return !c.out.write(fd) }
	return c, nil
}

// Read reads what there is, and waits for the first byte of it.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 || !supported {
		return c.nc.Read(p)
	}
	n, err := c.read(p, c.pull)
	if err != nil && err != io.EOF { //nolint:errorlint // read's own
		err = c.failed("read", err)
	}
	return n, err
}

// TryRead reads what there is. It does not wait: if there is nothing it returns ErrWouldBlock.
func (c *Conn) TryRead(p []byte) (int, error) {
	if !supported {
		return 0, ErrWouldBlock
	}
	n, err := c.read(p, c.look)
	switch {
	case err == nil, err == io.EOF: //nolint:errorlint // read's own
	case err == syscall.EAGAIN: //nolint:errorlint // an Errno, never wrapped
		err = ErrWouldBlock
	default:
		err = c.failed("read", err)
	}
	return n, err
}

func (c *Conn) read(p []byte, how func(fd uintptr) bool) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.in = transfer{p: p}
	err := c.raw.Read(how)
	if err == nil {
		err = c.in.err
	}
	n := c.in.n
	c.in = transfer{}
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 || !supported {
		return c.nc.Write(p)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = transfer{p: p}
	err := c.raw.Write(c.push)
	if err == nil {
		err = c.out.err
	}
	n := c.out.n
	c.out = transfer{}
	if err != nil {
		err = c.failed("write", err)
	}
	return n, err
}

// read reports whether there was nothing to read yet.
func (t *transfer) read(fd uintptr) (again bool) {
	t.n, t.err = read(fd, t.p[:min(len(t.p), maxPiece)])
	return t.err == syscall.EAGAIN //nolint:errorlint // an Errno, never wrapped
}

// write reports whether the socket takes no more at the moment.
func (t *transfer) write(fd uintptr) (again bool) {
	for t.n < len(t.p) {
		var n int
		n, t.err = write(fd, t.p[t.n:min(len(t.p), t.n+maxPiece)])
		if t.err != nil {
			return t.err == syscall.EAGAIN //nolint:errorlint // an Errno, never wrapped
		}
		t.n += n
	}
	return false
}

// failed makes an error of the form that package net gives it: net/http and crypto/tls look at the operation.
func (c *Conn) failed(op string, err error) error {
	switch e := err.(type) { //nolint:errorlint // both are made by the call before
	case *net.OpError:
		err = e.Err // a RawConn has operations of its own
	case syscall.Errno:
		err = os.NewSyscallError(op, e)
	}
	return &net.OpError{
		Op: op, Net: c.nc.RemoteAddr().Network(), Source: c.nc.LocalAddr(), Addr: c.nc.RemoteAddr(), Err: err,
	}
}
