package upstream

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// continueWait is how long the upstream may take to say 100 Continue before the body is sent without it
	// (RFC 9110 section 10.1.1 lets no client wait for ever).
	continueWait = time.Second
	// lastWriteWait is what a write that is on its way out may still take when the answer is complete.
	lastWriteWait = 100 * time.Millisecond
)

// upload sends a request body beside the handler, which reads the answer meanwhile. The handler owns its goroutine:
// it stops it and waits for done before it returns.
type upload struct {
	src     io.Reader
	c       *conn
	prefix  []byte // read from src already
	chunked bool
	remain  int64 // of a sized body
	timeout time.Duration
	buf     []byte

	done chan struct{} // closed when the goroutine is over

	allRead atomic.Bool // the client's body has been read to its end
	failed  atomic.Pointer[Error]
	ended   atomic.Int64 // unix nanoseconds at which the goroutine was over
	whole   bool         // all of it was sent; valid after done
	err     error        // from the upstream; valid after done
}

// chunkRoom is the space around the data in buf: the size line before it, CRLF and the last chunk behind.
const (
	chunkBefore = 18 // 16 digits and CRLF
	chunkBehind = 2 + 5
)

func (u *upload) run() {
	defer close(u.done)
	defer func() { u.ended.Store(time.Now().UnixNano()) }()
	if len(u.prefix) > 0 && !u.send(copy(u.buf[chunkBefore:], u.prefix), false) {
		return
	}
	for {
		n, last, ok := u.read()
		if !ok {
			return
		}
		if last {
			u.allRead.Store(true)
		}
		if !u.send(n, last) {
			return
		}
		if last {
			u.whole = true
			return
		}
	}
}

// read reads once from the client. It fails if the body is not what was announced.
func (u *upload) read() (n int, last, ok bool) {
	room := u.buf[chunkBefore : len(u.buf)-chunkBehind]
	if !u.chunked && int64(len(room)) > u.remain {
		room = room[:u.remain]
	}
	n, err := u.src.Read(room)
	if !u.chunked {
		u.remain -= int64(n)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF), err != nil && !u.chunked && u.remain > 0:
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		u.failed.Store(clientBodyError(err))
		u.c.abort() // the upstream must not take this for a whole request; the handler's read ends
		return 0, false, false
	case err != nil:
		return n, true, true
	case !u.chunked && u.remain == 0:
		// Readers around the body may act at its end.
		if extra, _ := u.src.Read(u.buf[:1]); extra > 0 {
			u.failed.Store(clientBodyError(errors.New("body is longer than its Content-Length")))
			u.c.abort()
			return 0, false, false
		}
		return n, true, true
	}
	return n, false, true
}

// send writes n bytes of buf, as a chunk if need be, with the last chunk if this is the last.
func (u *upload) send(n int, last bool) bool {
	p := u.buf[chunkBefore : chunkBefore+n]
	if u.chunked {
		p = u.frameChunk(n, last)
	}
	if len(p) == 0 {
		return true
	}
	u.c.sock.SetWriteDeadline(time.Now().Add(u.timeout))
	_, u.err = u.c.rw.Write(p)
	return u.err == nil // if not: the upstream may have answered before it closed, so the handler goes on reading
}

func (u *upload) frameChunk(n int, last bool) []byte {
	from, to := chunkBefore, chunkBefore+n
	if n > 0 {
		var digits [chunkBefore]byte
		size := append(strconv.AppendInt(digits[:0], int64(n), 16), '\r', '\n')
		from -= copy(u.buf[chunkBefore-len(size):], size)
		to += copy(u.buf[to:], "\r\n")
	}
	if last {
		to += copy(u.buf[to:], "0\r\n\r\n")
	}
	return u.buf[from:to]
}

// over reports whether the goroutine has ended.
func (u *upload) over() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// startUpload sends the body of x beside the handler.
func (x *exchange) startUpload() {
	if x.r.ProtoMajor == 1 {
		// Without this the server reads the rest of the body before it writes the head of the answer.
		_ = x.control().EnableFullDuplex() // not supported by a test's recorder, where it is not needed either
	}
	u := &upload{
		src: x.r.Body, c: x.c, chunked: x.plan == planChunked, remain: x.r.ContentLength, timeout: x.p.responseTimeout,
		done: make(chan struct{}),
	}
	if x.prefix {
		u.prefix = x.small
	}
	x.upBuf = x.p.bigBuf()
	u.buf = *x.upBuf
	x.up = u
	x.c.writeBy = true
	go u.run()
}

// proceed lets a body go that was held for 100 Continue. The 100 is written here and not left to the first read of
// the body, as net/http would have it: that would be another goroutine, which a 103 could meet.
func (x *exchange) proceed() {
	x.held = false
	if x.r.ProtoMajor == 1 {
		clear(x.in)
		x.writeInformational(http.StatusContinue)
	}
	x.startUpload()
}

// endUpload stops the upload if it is not over, and waits for it. An answer that is complete before its request is
// final: what the client has not sent yet is not sent on.
func (x *exchange) endUpload() {
	u := x.up
	if u == nil || x.upEnded {
		return
	}
	x.upEnded = true
	switch {
	case u.over():
	case u.allRead.Load():
		x.c.sock.SetWriteDeadline(time.Now().Add(lastWriteWait))
	default:
		x.c.abort()
		x.unblockClient()
	}
	<-u.done
	x.p.big.Put(x.upBuf)
	x.upBuf, u.buf = nil, nil
}

// unblockClient ends a read of the client's body that is under way.
func (x *exchange) unblockClient() {
	if err := x.control().SetReadDeadline(time.Unix(1, 0)); err != nil {
		x.r.Body.Close()
	}
}

// unread reports whether the client may have more of its body to send.
func (x *exchange) unread() bool {
	return x.held || (x.up != nil && !x.up.allRead.Load()) || (x.sending != nil && x.sending.rest())
}

// closeAfter tells an HTTP/1 client that its connection ends with this answer, unless its body has been read to the
// end: in full duplex the server would else take the rest of the body for the next request.
func (x *exchange) closeAfter(h http.Header) {
	if x.r.ProtoMajor == 1 && x.unread() {
		h.Set("Connection", "close")
	}
}
