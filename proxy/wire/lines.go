package wire

import (
	"bytes"
	"context"
	"errors"
)

// errNoHead ends a connection on which an answer would go without the lines that belong into it.
var errNoHead = errors.New("answer does not begin with the head that was announced")

// HeadLines returns what adds whole field lines, CRLF included, to the head of the answer to a request with this
// context; nil where net/http has to write them, as on HTTP/2. They cost a copy, where net/http clones a map and
// sorts it. The function is to be called by the handler, right behind its WriteHeader with the same final status,
// and the answer's Header must have none of these fields. The lines go out as they are; they must not change
// before the head is out.
func HeadLines(ctx context.Context) func(status int, lines []byte) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return c.addFn
	}
	return nil
}

// addLines has the next write carry lines. Behind WriteHeader net/http writes no more 1xx answers, so that is the
// head of the final one.
func (c *conn) addLines(status int, lines []byte) { c.status, c.lines = status, lines }

// writeHead writes p, the beginning of a head, with the lines behind its status line. If it is something else it
// writes nothing, and net/http closes the connection.
func (c *conn) writeHead(p []byte) (int, error) {
	end := bytes.IndexByte(p, '\n') + 1
	if !isStatusLine(p[:end], c.status) {
		return 0, errNoHead
	}
	lines := c.lines
	c.lines = nil
	buf := c.srv.buffer(len(p) + len(lines))
	defer c.srv.recycle(buf)
	n := copy(buf, p[:end])
	n += copy(buf[n:], lines)
	n += copy(buf[n:], p[end:])
	n, err := c.Conn.Write(buf[:n])
	if err != nil {
		return min(n, end), err // of what the caller gave, no less was written
	}
	return len(p), nil
}

// isStatusLine reports whether line is that of an answer with this status, as net/http writes it.
func isStatusLine(line []byte, status int) bool {
	const version, code = "HTTP/1.", len("HTTP/1.1 ")
	digits := [...]byte{'0' + byte(status/100), '0' + byte(status/10%10), '0' + byte(status%10)}
	return len(line) > code+len(digits) && string(line[:len(version)]) == version && [3]byte(line[code:code+len(digits)]) == digits
}
