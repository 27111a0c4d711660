package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxHeld is how much of a body of unknown length is held back, in bytes, in the hope that it ends and can be sent
	// with its length.
	maxHeld = 2 << 10
	// tailRoom is the space between the fields of the handler and the body: for the fields that say how the body ends,
	// which are written when that is known, and the size of a chunk.
	tailRoom = 192
	// chunkRoom is the space for the size of a chunk in the buffer.
	chunkRoom = "ffff\r\n"
	lastChunk = "0\r\n"
	crlf      = "\r\n"
)

// A response is the http.ResponseWriter of an exchange. It gathers the head and the beginning of the body in one
// buffer, so that a small answer is one write. Its methods do what http.ResponseWriter, http.ResponseController and
// net/http's server say about them; only the order of fields is none.
type response struct {
	x      *exchange
	header http.Header

	status     int   // 0 before WriteHeader
	length     int64 // promised; -1 if unknown
	written    int64
	connection []string // the handler's Connection
	coding     string   // and its Transfer-Encoding
	trailers   []string // announced
	trailing   bool     // there may be some
	has        struct{ date, contentType, contentEncoding bool }

	out    []byte // out[start:] is to be sent
	start  int
	body   int  // where in out the body begins, or the open chunk
	framed bool // the head is complete
	sent   bool // something of the final answer is out

	chunked bool
	open    bool  // out[body:] is a chunk that may grow
	closing bool  // the connection ends with this answer
	duplex  bool  // the request's body is left alone when the answer begins
	err     error // of the first write that failed; also when the answer is over

	continuing sync.Mutex // held while 100 Continue is written
}

// Header returns the fields of the answer, and of its trailer section.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader sends an informational answer, or begins the final one.
func (w *response) WriteHeader(status int) { w.WriteHeaderLines(status, nil) }

// WriteHeaderLines is WriteHeader with whole field lines, CRLF included, that go into the head of a final answer as they
// are, which costs a copy. Header must have none of these fields.
func (w *response) WriteHeaderLines(status int, lines []byte) {
	switch {
	case w.x.hijacked:
		w.misused("response.WriteHeader on hijacked connection")
		return
	case w.status != 0:
		w.misused("superfluous response.WriteHeader call")
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %d", status))
	}
	if status == http.StatusContinue || status >= 200 {
		w.stopContinue()
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	w.status = status
	b := w.x.c.srv.buffer(bufferSize)[:0]
	b = append(w.appendStatus(b, status), lines...)
	b = w.appendFields(b, status)
	w.body = len(b) + tailRoom
	if w.body > cap(b) {
		b = append(b, make([]byte, tailRoom)...)
	}
	w.out = b[:w.body]
}

// misused reports a mistake of a handler's, and where it made it.
func (w *response) misused(what string) {
	pc := make([]uintptr, 16)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for {
		frame, more := frames.Next()
		if !strings.Contains(frame.Function, "/wire.(*response)") || !more {
			w.x.c.srv.opts.OnError(w.x.c.link.RemoteAddr(),
				fmt.Errorf("%s from %s (%s:%d)", what, frame.Function, path.Base(frame.File), frame.Line))
			return
		}
	}
}

func (w *response) appendStatus(b []byte, status int) []byte {
	b = append(b, w.x.req.Proto...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, crlf...)
}

// inform sends an informational answer. HTTP/1.0 knows none (RFC 9110 section 15.2).
func (w *response) inform(status int) {
	if w.x.req.ProtoMinor == 0 {
		return
	}
	b := w.appendStatus(nil, status)
	for key, values := range w.header {
		if key != "Content-Length" && key != "Transfer-Encoding" {
			b = appendField(b, key, values)
		}
	}
	w.continuing.Lock() // the body may be read meanwhile
	defer w.continuing.Unlock()
	_ = w.write(append(b, crlf...))
}

// appendFields writes the handler's fields, but for those that say how the body ends and whether the connection does.
func (w *response) appendFields(b []byte, status int) []byte {
	for key, values := range w.header {
		switch key {
		case "Content-Length":
			w.declare(values)
			continue
		case "Transfer-Encoding":
			if len(values) > 0 {
				w.coding = values[0]
			}
			continue
		case "Connection":
			if w.connection = values; len(values) == 1 && (values[0] == "close" || values[0] == "keep-alive") {
				continue
			}
		case "Content-Type":
			if w.has.contentType = true; status == http.StatusNotModified {
				continue
			}
		case "Date":
			w.has.date = true
		case "Content-Encoding":
			w.has.contentEncoding = len(values) > 0 && values[0] != ""
		case "Trailer":
			w.announce(values)
		}
		if strings.HasPrefix(key, http.TrailerPrefix) {
			w.trailing = true
			continue
		}
		b = appendField(b, key, values)
	}
	return b
}

// appendField writes a field for each value. A name that is not one is left out, and what would end a line early becomes
// a space.
func appendField(b []byte, key string, values []string) []byte {
	if !validName(key) {
		return b
	}
	for _, v := range values {
		b = append(append(b, key...), ": "...)
		from := len(b)
		b = append(b, trimString(v)...)
		if hasControl(b[from:]) {
			for i, c := range b[from:] {
				if c == '\r' || c == '\n' || c == 0 {
					b[from+i] = ' '
				}
			}
		}
		b = append(b, crlf...)
	}
	return b
}

func validName(key string) bool {
	for i := range len(key) {
		if !isToken[key[i]] {
			return false
		}
	}
	return key != ""
}

// declare takes the length that the handler promises.
func (w *response) declare(values []string) {
	if len(values) == 0 || values[0] == "" {
		return
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		w.misused(fmt.Sprintf("invalid Content-Length of %q", values[0]))
		return
	}
	w.length = int64(n)
}

// announce takes the names of trailers that are to come.
func (w *response) announce(values []string) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if key := http.CanonicalHeaderKey(trimString(name)); validName(key) && !forbiddenTrailer([]byte(strings.ToLower(key))) {
				w.trailers = append(w.trailers, key)
			}
		}
	}
	w.trailing = true
}

// hasBody reports whether an answer with this status may have one.
func (w *response) hasBody() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write sends a part of the body, and a 200 first if no head was sent.
func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if hold(w, p) {
		return len(p), nil
	}
	return w.send(p)
}

// WriteString is Write for a string.
func (w *response) WriteString(s string) (int, error) {
	if err := w.admit(len(s)); err != nil || len(s) == 0 {
		return 0, err
	}
	if hold(w, s) {
		return len(s), nil
	}
	return w.send([]byte(s))
}

// admit counts n bytes of the body, and refuses what the head has not promised.
func (w *response) admit(n int) error {
	if w.x.hijacked {
		if n > 0 {
			w.misused("response.Write on hijacked connection")
		}
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return w.err
	case n == 0:
		return nil
	case !w.hasBody():
		return http.ErrBodyNotAllowed
	}
	if w.written += int64(n); w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return nil
}

// hold keeps p in the buffer if it may wait there.
func hold[P []byte | string](w *response, p P) bool {
	if w.framed && w.x.req.Method == http.MethodHead {
		return true
	}
	if w.out == nil {
		w.out = w.x.c.srv.buffer(bufferSize)[:0]
	}
	room := cap(w.out) - len(w.out) - len(crlf)
	switch {
	case !w.framed && w.length < 0:
		room = min(room, maxHeld-(len(w.out)-w.body))
	case w.framed && w.chunked && !w.open:
		if room -= len(chunkRoom); len(p) <= room {
			w.openChunk()
		}
	}
	if len(p) > room {
		return false
	}
	w.out = append(w.out, p...)
	return true
}

// send sends what is held and p.
func (w *response) send(p []byte) (int, error) {
	rest := p
	if !w.framed {
		n := min(len(p), max(0, maxHeld-(len(w.out)-w.body))) // which tells the type
		w.out, rest = append(w.out, p[:n]...), p[n:]
		w.frame(false)
	}
	if w.x.req.Method == http.MethodHead {
		return len(p), nil
	}
	w.closeChunk()
	chunk := w.chunked && len(rest) > 0
	if chunk {
		w.out = append(strconv.AppendInt(w.out, int64(len(rest)), 16), crlf...)
	}
	if len(w.out) > w.start { // what fits goes with the head
		n := min(len(rest), max(0, cap(w.out)-len(w.out)))
		w.out, rest = append(w.out, rest[:n]...), rest[n:]
	}
	err := w.push()
	if err == nil && len(rest) > 0 {
		err = w.write(rest)
	}
	if err != nil {
		return 0, err
	}
	if chunk {
		w.out = append(w.out, crlf...)
	}
	return len(p), nil
}

// push sends out.
func (w *response) push() error {
	w.closeChunk()
	if len(w.out) > w.start {
		_ = w.write(w.out[w.start:]) // it is kept
	}
	w.out, w.start = w.out[:0], 0
	return w.err
}

// write sends p. After a failure nothing is sent any more, and the context ends.
func (w *response) write(p []byte) error {
	if w.err != nil {
		return w.err
	}
	if !w.sent && w.status != 0 {
		w.sent = true
		w.x.answered()
	}
	if _, w.err = w.x.c.nc.Write(p); w.err != nil {
		w.x.life.end()
	}
	return w.err
}

func (w *response) openChunk() {
	w.out = append(w.out, chunkRoom...)
	w.body = len(w.out)
	w.open = true
}

// closeChunk writes the size in front of the open chunk.
func (w *response) closeChunk() {
	if !w.open {
		return
	}
	w.open = false
	from, size := w.body-len(chunkRoom), len(w.out)-w.body
	if size == 0 {
		w.out = w.out[:from]
		return
	}
	var digits [20]byte
	line := append(strconv.AppendInt(digits[:0], int64(size), 16), crlf...)
	n := copy(w.out[from:], line)
	n += copy(w.out[from+n:], w.out[w.body:])
	w.out = append(w.out[:from+n], crlf...)
}

// Flush sends what is held.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	if w.x.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		w.frame(false)
	}
	err := w.push()
	w.release() // what comes next may be long in coming
	return err
}

// ReadFrom lets the kernel copy where there is no TLS in between and no chunk to frame.
func (w *response) ReadFrom(src io.Reader) (total int64, err error) {
	l, plain := w.x.c.nc.(*link)
	if plain && w.status != 0 && w.length > w.written && w.hasBody() && w.x.req.Method != http.MethodHead {
		if err := w.FlushError(); err != nil {
			return 0, err
		}
		if !w.chunked {
			total, err = l.readFrom(src, w.length-w.written)
			w.written += total
			if err != nil {
				w.err = err
				w.x.life.end()
				return total, err
			}
		}
	}
	buf := w.x.c.srv.buffer(bufferSize)
	defer w.x.c.srv.recycle(buf)
	n, err := io.CopyBuffer(writerOnly{w}, src, buf)
	return total + n, err
}

// SetReadDeadline is for http.ResponseController, as the next two are.
func (w *response) SetReadDeadline(t time.Time) error { return w.x.c.link.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of writes until the handler returns.
func (w *response) SetWriteDeadline(t time.Time) error { return w.x.c.link.SetWriteDeadline(t) }

// EnableFullDuplex leaves the rest of the request's body alone when the answer begins.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	return nil
}

// sendContinue sends 100 Continue, unless an answer has begun.
func (w *response) sendContinue() {
	w.continuing.Lock()
	defer w.continuing.Unlock()
	if w.x.body.mayContinue.Swap(false) {
		_, _ = io.WriteString(w.x.c.nc, "HTTP/1.1 100 Continue\r\n\r\n") // a failure shows at the next read
	}
}

// stopContinue keeps a read of the body from sending 100 Continue into the answer.
func (w *response) stopContinue() {
	if !w.x.body.expect {
		return
	}
	w.continuing.Lock()
	defer w.continuing.Unlock()
	w.x.body.mayContinue.Store(false)
}

// finish completes the answer when the handler has returned.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		w.frame(true)
	}
	w.closeChunk()
	if w.chunked {
		w.out = append(w.appendTrailers(append(w.out, lastChunk...)), crlf...)
	}
	_ = w.push()
	w.release()
	if !w.closing && !w.x.body.drain() {
		w.closing = true
	}
	_ = w.x.body.Close()
}

// abandon ends an answer that the handler has given up. It is to be seen that it is not whole, so what is held goes out
// only if that does not complete it.
func (w *response) abandon() {
	switch {
	case !w.framed:
	case w.chunked, w.length >= 0 && w.written < w.length:
		_ = w.push()
	case w.length < 0 && w.hasBody() && w.x.req.Method != http.MethodHead:
		w.x.c.link.reset() // an orderly end of the connection would be the end of the body
	}
	w.release()
	w.err = errLate
	_ = w.x.body.Close()
}

// release gives the buffer back, when nothing is in it or nothing of it is wanted.
func (w *response) release() {
	if w.out != nil {
		w.x.c.srv.recycle(w.out[:cap(w.out)])
		w.out = nil
	}
}

func (w *response) appendTrailers(b []byte) []byte {
	for _, key := range w.trailers {
		b = appendField(b, key, w.header[key])
	}
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			b = appendField(b, name, values)
		}
	}
	return b
}

// mayFollow reports whether the connection can take another request.
func (w *response) mayFollow() bool {
	short := w.x.req.Method != http.MethodHead && w.length >= 0 && w.hasBody() && w.length != w.written
	return !w.closing && !short && w.err == nil && !w.x.c.refused.Load()
}

// Hijack gives the connection to the handler. What the client has sent behind the request comes from it first.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x, c := w.x, w.x.c
	if x.hijacked {
		return nil, nil, http.ErrHijacked
	}
	w.stopContinue()
	if w.status != 0 {
		if err := w.FlushError(); err != nil {
			return nil, nil, err
		}
	}
	c.unwatch()
	if c.refused.Load() {
		return nil, nil, errors.New("hijack: the client's stream was refused")
	}
	x.hijacked = true
	w.release()
	nc := &upgradedConn{Conn: c.nc, early: append([]byte(nil), c.buf[c.r:c.w]...)}
	c.dropBuffer()
	c.link.setPaced(false)
	_ = c.link.SetDeadline(time.Time{})
	c.srv.enter(c.link, upgraded)
	return nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), nil
}

// An upgradedConn is a connection that a handler took over.
type upgradedConn struct {
	net.Conn
	early []byte // read before
}

// Read returns what came before the upgrade first.
func (c *upgradedConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends the sending direction.
func (c *upgradedConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
