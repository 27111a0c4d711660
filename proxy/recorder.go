package proxy

import (
	"bufio"
	"net"
	"net/http"
	"slices"
)

// A recorder is the ResponseWriter wrapper of the data path, and the only one but for those of routes whose answers are
// inspected or compressed. It counts, applies the security headers and the request id to the final head exactly once, keeps caches away from
// answers with our cookies, and passes 1xx answers through except to HTTP/1.0 clients, which know none.
type recorder struct {
	w     http.ResponseWriter
	x     *exchange
	wrote bool     // the final head is out
	conn  net.Conn // the hijacked connection
}

// Header returns the answer's headers.
func (rec *recorder) Header() http.Header { return rec.w.Header() }

// Unwrap gives http.ResponseController the server's writer for deadlines and full duplex.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.w }

// WriteHeader sends a head. A second final head is ignored.
func (rec *recorder) WriteHeader(status int) {
	if rec.wrote {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if !rec.x.http10 {
			rec.w.WriteHeader(status)
		}
		return
	}
	if lines := rec.head(status); lines != nil {
		rec.w.(linesWriter).WriteHeaderLines(status, lines)
		return
	}
	rec.w.WriteHeader(status)
}

// A linesWriter is a server's ResponseWriter that takes whole lines of a head, CRLF included. They cost a copy, where
// fields in a map cost that much each.
type linesWriter interface {
	WriteHeaderLines(status int, lines []byte)
}

// head completes the headers of the final answer. It returns lines of it that are not among them, if the server takes some.
func (rec *recorder) head(status int) (lines []byte) {
	x := rec.x
	h := rec.w.Header()
	rec.wrote = true
	x.event.Status = status
	lines = rec.security(h, status)
	keepPrivate(h, x.gen.opts.OwnCookie, x.gen.opts.PublicCookie)
	if x.vary != "" { // RFC 9110 section 12.5.5: another route might answer other values
		h["Vary"] = append(slices.Clip(h["Vary"]), x.vary)
	}
	x.answerID[0] = x.event.ID
	h["X-Request-Id"] = x.answerID[:]
	if x.closing && x.http1 {
		h["Connection"] = []string{"close"}
	}
	return lines
}

// security has the hook of whoever answers complete h, or return the lines that do: where the server takes those, and the
// answer is none of our own with a policy that the hook may not replace.
func (rec *recorder) security(h http.Header, status int) (lines []byte) {
	x := rec.x
	hook, fast, own := x.gen.opts.Response, x.gen.opts.ResponseLines, x.local
	if x.route != nil {
		hook, fast, own = x.route.Response, x.route.ResponseLines, own || x.route.Gateway
	}
	policy := h["Content-Security-Policy"]
	if !own {
		policy = nil
	}
	if fast != nil && policy == nil && status >= 200 && rec.conn == nil {
		if _, ok := rec.w.(linesWriter); ok {
			return fast(h)
		}
	}
	if hook != nil {
		hook(h)
	}
	if policy != nil {
		h["Content-Security-Policy"] = policy
	}
	return nil
}

// Write sends body bytes, and a 200 first if no head was sent.
func (rec *recorder) Write(p []byte) (int, error) {
	if !rec.wrote {
		rec.WriteHeader(http.StatusOK)
	}
	n, err := rec.w.Write(p)
	rec.x.event.BytesOut += int64(n)
	return n, err
}

// Flush sends what is buffered.
func (rec *recorder) Flush() { _ = rec.FlushError() }

// FlushError is Flush for http.ResponseController.
func (rec *recorder) FlushError() error {
	if !rec.wrote {
		rec.WriteHeader(http.StatusOK)
	}
	if f, ok := rec.w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return http.NewResponseController(rec.w).Flush()
}

// Hijack takes the connection over. It fails on HTTP/2, as the server's writer does.
func (rec *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(rec.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	rec.conn = conn
	rec.x.event.Upgraded = true
	if !rec.wrote {
		rec.x.event.Status = http.StatusSwitchingProtocols
	}
	return conn, brw, nil
}
