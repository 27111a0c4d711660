package proxy

import (
	"bufio"
	"net"
	"net/http"
)

// A recorder is the only ResponseWriter wrapper of the data path. It counts, applies the security headers and the request id
// to the final head exactly once, keeps caches away from answers with our cookies, and passes 1xx answers through except to
// HTTP/1.0 clients, which know none.
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
	rec.w.WriteHeader(rec.head(status))
}

// head completes the headers of the final answer and returns its status.
func (rec *recorder) head(status int) int {
	x := rec.x
	h := rec.w.Header()
	rec.wrote = true
	x.event.Status = status
	hook, own := x.gen.opts.Response, x.local
	if x.route != nil {
		hook, own = x.route.Response, own || x.route.Gateway
	}
	if hook != nil {
		policy := h["Content-Security-Policy"]
		hook(h)
		if own && policy != nil {
			h["Content-Security-Policy"] = policy
		}
	}
	keepPrivate(h, x.gen.opts.OwnCookie)
	x.answerID[0] = x.event.ID
	h["X-Request-Id"] = x.answerID[:]
	if x.closing && x.http1 {
		h["Connection"] = []string{"close"}
	}
	return status
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
