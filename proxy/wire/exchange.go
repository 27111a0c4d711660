package wire

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// fewFields is how many field values find room in an exchange itself.
const fewFields = 12

// An exchange is one request and its answer, in one allocation. It is not used again for another: a handler may
// keep any part of it.
type exchange struct {
	c   *conn
	req http.Request
	url url.URL

	life     life
	body     body
	response response

	values [fewFields]string // of the fields, as far as they find room
	used   int

	keepAlive bool // the client asked for it, which on HTTP/1.0 it must
	held      bool // an upgrade was asked for
	early     bool // bytes came between it and its answer
	hijacked  bool
	violation *Error // why this stands for refused bytes
}

func newExchange(c *conn) *exchange {
	x := &exchange{c: c}
	x.life.x = x
	x.req = *new(http.Request).WithContext(&x.life)
	x.req.RemoteAddr, x.req.TLS = c.remote, c.tls
	x.req.Header = make(http.Header)
	x.body.x, x.response.x = x, x
	x.response.length = -1
	return x
}

// standIn is the exchange whose request stands for refused bytes.
func standIn(c *conn, why *Error) *exchange {
	x := newExchange(c)
	r := &x.req
	r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor = http.MethodGet, "HTTP/1.1", 1, 1
	r.RequestURI, r.Host, r.Close, r.Body = "/", "violation.invalid", true, http.NoBody
	x.url.Path = "/"
	r.URL = &x.url
	x.violation = why
	x.body.over.Store(true)
	x.response.closing = true
	return x
}

// line takes what a request line says. The framer has checked it.
func (x *exchange) line(method, target []byte, http10 bool) *Error {
	r := &x.req
	r.Method = knownMethod(method)
	r.RequestURI = string(target)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if http10 {
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0
	}
	r.URL = &x.url
	path, query, asked := strings.Cut(r.RequestURI, "?")
	if plainPath(path) {
		x.url.Path, x.url.RawQuery, x.url.ForceQuery = path, query, asked && query == ""
		return nil
	}
	return x.parseTarget()
}

// parseTarget has net/url read a target that is not simple. The host of an absolute one is the request's.
func (x *exchange) parseTarget() *Error {
	r, scheme := &x.req, ""
	if r.Method == http.MethodConnect {
		scheme = "http://" // there is none in the target
	}
	u, err := url.ParseRequestURI(scheme + r.RequestURI)
	if err != nil {
		return errTargetForm
	}
	if scheme != "" {
		u.Scheme = ""
	}
	r.URL, r.Host = u, u.Host
	return nil
}

// plainPath reports whether a path is its own escaped and unescaped form.
func plainPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := range len(p) {
		if !isPlain[p[i]] {
			return false
		}
	}
	return true
}

// field takes a field that the framer has checked. The host is no field of a http.Request.
func (x *exchange) field(name, value []byte) {
	if is(name, "host") {
		if x.req.Host == "" {
			x.req.Host = string(value)
		}
		return
	}
	x.add(x.req.Header, name, string(value))
}

// add puts a field into h. Most have one value, and share an array.
func (x *exchange) add(h http.Header, name []byte, value string) {
	key := x.c.srv.canonical(name)
	before, ok := h[key]
	switch {
	case ok:
		h[key] = append(before, value)
	case x.used < len(x.values):
		x.values[x.used] = value
		x.used++
		h[key] = x.values[x.used-1 : x.used : x.used]
	default:
		h[key] = []string{value}
	}
}

// end completes the request when its head is whole: what net/http takes out of the header or puts into it.
func (x *exchange) end(f *framer) {
	r := &x.req
	h := r.Header
	if p := h["Pragma"]; len(p) > 0 && p[0] == "no-cache" {
		if _, ok := h["Cache-Control"]; !ok {
			h["Cache-Control"] = []string{"no-cache"} // RFC 9111 section 5.4, and a habit of net/http's
		}
	}
	if connection := h["Connection"]; len(connection) > 0 {
		r.Close = listed(connection, "close")
		x.keepAlive = r.ProtoMinor == 0 && listed(connection, "keep-alive")
	}
	if r.ProtoMinor == 0 && !x.keepAlive {
		r.Close = true
	}
	x.held = f.head.upgrade || f.head.connect
	r.ContentLength = f.head.bodySize
	if f.head.chunked {
		r.ContentLength = -1
		r.TransferEncoding = []string{"chunked"}
		delete(h, "Transfer-Encoding")
		x.announced()
	}
	if r.ContentLength == 0 {
		x.body.over.Store(true)
		r.Body = http.NoBody
		return
	}
	r.Body = &x.body
	if r.ProtoMinor > 0 && h["Expect"] != nil {
		x.body.expect = true
		x.body.mayContinue.Store(true)
	}
}

// announced makes the map of trailers that are to come.
func (x *exchange) announced() {
	names, ok := x.req.Header["Trailer"]
	if !ok {
		return
	}
	delete(x.req.Header, "Trailer")
	for _, v := range names {
		for name := range strings.SplitSeq(v, ",") {
			if name = trimString(name); name == "" {
				continue
			}
			if x.req.Trailer == nil {
				x.req.Trailer = make(http.Header)
			}
			x.req.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
}

// trailer takes a field of the trailer section.
func (x *exchange) trailer(name, value []byte) {
	if x.body.trailer == nil {
		x.body.trailer = make(http.Header)
	}
	key := x.c.srv.canonical(name)
	x.body.trailer[key] = append(x.body.trailer[key], string(value))
}

// listed reports whether a token is in a list that may be spread over several fields.
func listed(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(trimString(part), token) {
				return true
			}
		}
	}
	return false
}

func trimString(s string) string { return strings.Trim(s, " \t") }

// knownMethod spares the common methods an allocation.
func knownMethod(m []byte) string {
	switch string(m) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodOptions:
		return http.MethodOptions
	}
	return string(m)
}

// canonical is http.CanonicalHeaderKey for a token; the names of common fields cost no allocation.
func (s *Server) canonical(name []byte) string {
	var buf [64]byte
	if len(name) > len(buf) {
		return http.CanonicalHeaderKey(string(name))
	}
	upper := true
	for i, c := range name {
		switch {
		case upper && 'a' <= c && c <= 'z':
			c -= 0x20
		case !upper && 'A' <= c && c <= 'Z':
			c += 0x20
		}
		buf[i] = c
		upper = c == '-'
	}
	key := buf[:len(name)]
	if known, ok := s.names[string(key)]; ok {
		return known
	}
	return string(key)
}

type (
	violationKey struct{}

	// A connContext is what the contexts of a connection's requests have in common.
	connContext struct {
		context.Context
		c *conn
	}
)

func (x connContext) Value(key any) any {
	switch key {
	case http.LocalAddrContextKey:
		return x.c.link.LocalAddr()
	case http.ServerContextKey:
		return x.c.srv.http
	}
	return x.Context.Value(key)
}

// A life is the context of a request. It makes what package context needs only when somebody waits for it.
type life struct {
	x *exchange

	mu     sync.Mutex
	over   bool
	inner  context.Context //nolint:containedctx // it is part of this one
	cancel context.CancelFunc
}

// Deadline is none: how long a handler may take is the handler's.
func (*life) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Done is closed when the client has gone, or the handler has returned.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner == nil {
		l.inner, l.cancel = context.WithCancel(l.x.c.ctx)
		if l.over {
			l.cancel()
		}
	}
	return l.inner.Done()
}

// Err is context.Canceled then.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return context.Canceled
	}
	return nil
}

// Value knows what net/http's contexts know. What asks for a context of package context, to be told of this one's
// end, has asked for Done before.
func (l *life) Value(key any) any {
	if key == (violationKey{}) {
		return l.x.violation
	}
	l.mu.Lock()
	inner := l.inner
	l.mu.Unlock()
	if inner == nil {
		inner = l.x.c.ctx
	}
	return inner.Value(key)
}

func (l *life) end() {
	l.mu.Lock()
	l.over = true
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
