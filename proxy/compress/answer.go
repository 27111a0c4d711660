package compress

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// An answer is the ResponseWriter of a handler whose answer may be compressed. Its head is held until it is known whether it is. The
// headers are the server's own, so that trailers reach it.
type answer struct {
	http.ResponseWriter
	c      *Compressor
	opts   *Options
	r      *http.Request
	method string
	asked  []string // If-None-Match
	may    bool     // the client forbids no transformation
	coding string   // that the client takes; "" for none

	status  int // of a head that the handler has given; 0 before
	sent    bool
	held    []byte // of a body whose length is not known, until it is worth it
	encoder encoder
}

// Unwrap gives http.ResponseController the writer below, for deadlines and full duplex.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader takes the final head, or passes a 1xx one on.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || a.sent {
		return
	}
	if status < 200 {
		a.ResponseWriter.WriteHeader(status)
		a.sent = status == http.StatusSwitchingProtocols
		return
	}
	a.status = status
	h := a.Header()
	if status == http.StatusNotModified {
		a.notModified(h)
	}
	size, known := length(h)
	switch {
	case !a.eligible(h, size, known):
		a.pass()
	case a.coding == "":
		vary(h)
		a.pass()
	case known, a.method == http.MethodHead:
		vary(h)
		a.start()
	}
}

// eligible reports whether the answer would be compressed for a client that takes it.
func (a *answer) eligible(h http.Header, size int64, known bool) bool {
	switch a.status {
	case http.StatusOK, http.StatusForbidden, http.StatusNotFound:
	default:
		return false
	}
	return a.may && len(h["Content-Encoding"]) == 0 && len(h["Content-Range"]) == 0 && a.opts.compressible(h["Content-Type"]) &&
		!hasDirective(h["Cache-Control"], "no-transform") && (!known || size >= minSize && size <= maxSize)
}

// length is that of an answer, if it says one.
func length(h http.Header) (n int64, known bool) {
	values := h["Content-Length"]
	if len(values) != 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	return n, err == nil
}

// vary says that another client may get another answer (RFC 9110 section 12.5.5).
func vary(h http.Header) {
	for _, v := range h["Vary"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.Trim(name, " \t"); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(h["Vary"]), "Accept-Encoding")
}

// weaken makes an entity tag one of what is equal in meaning only, and drops what is none.
func weaken(h http.Header) {
	tags := h["Etag"]
	switch {
	case len(tags) == 0, len(tags) == 1 && strings.HasPrefix(tags[0], `W/"`):
	case len(tags) == 1 && len(tags[0]) >= 2 && tags[0][0] == '"' && tags[0][len(tags[0])-1] == '"':
		h["Etag"] = []string{"W/" + tags[0]}
	default:
		delete(h, "Etag")
	}
}

// notModified gives the head of a 304 the fields that a compressed 200 would have had, if the client holds one.
func (a *answer) notModified(h http.Header) {
	tags := h["Etag"]
	if len(tags) == 1 && slices.ContainsFunc(a.asked, func(v string) bool { return strings.Contains(v, "W/"+tags[0]) }) {
		weaken(h)
		vary(h)
	}
}

// pass sends the head and lets the body through as it is.
func (a *answer) pass() {
	a.sent = true
	a.ResponseWriter.WriteHeader(a.status)
}

// start sends the head of a compressed answer, if an encoder can be had.
func (a *answer) start() {
	if a.method != http.MethodHead {
		if a.encoder = a.c.take(a.coding, a.ResponseWriter); a.encoder == nil {
			a.pass()
			return
		}
	}
	h := a.Header()
	h["Content-Encoding"] = []string{a.coding}
	weaken(h)
	// Fields about the bytes that are not sent (RFC 9110 section 14.3, RFC 9530, RFC 3230).
	for _, name := range [...]string{"Content-Length", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(h, name)
	}
	if a.opts.OnCompress != nil {
		a.opts.OnCompress(a.r.Context(), a.coding)
	}
	a.pass()
}

// Write takes a part of the body.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.sent {
		if len(a.held)+len(p) < minSize {
			a.held = append(a.held, p...)
			return len(p), nil
		}
		if err := a.release(true); err != nil {
			return 0, err
		}
	}
	return a.write(p)
}

func (a *answer) write(p []byte) (int, error) {
	if a.encoder == nil || a.method == http.MethodHead {
		return a.ResponseWriter.Write(p) //nolint:wrapcheck // the server's own
	}
	return a.encoder.Write(p) //nolint:wrapcheck // the server's own
}

// release sends what is held, compressed if more is to come.
func (a *answer) release(more bool) error {
	vary(a.Header())
	if more {
		a.start()
	} else {
		a.pass()
	}
	held := a.held
	a.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := a.write(held)
	return err
}

// Flush sends what has been written.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError is Flush for http.ResponseController.
func (a *answer) FlushError() error {
	if a.status == 0 && !a.sent {
		a.WriteHeader(http.StatusOK)
	}
	if !a.sent {
		if err := a.release(true); err != nil {
			return err
		}
	}
	if a.encoder != nil {
		if err := a.encoder.Flush(); err != nil {
			return err //nolint:wrapcheck // the server's own
		}
	}
	return http.NewResponseController(a.ResponseWriter).Flush() //nolint:wrapcheck // the server's own
}

// Hijack hands the connection over.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.sent = true
	return http.NewResponseController(a.ResponseWriter).Hijack() //nolint:wrapcheck // the server's own
}

// end completes the answer of a handler that has returned. One that has not, but has been broken off, stays without an end, so that it does
// not look whole.
func (a *answer) end(whole bool) {
	if whole && a.status != 0 && !a.sent {
		_ = a.release(false) // a client that left shows at its next request
	}
	if a.encoder == nil {
		return
	}
	if whole {
		_ = a.encoder.Close()
	}
	a.c.giveBack(a.coding, a.encoder)
	a.encoder = nil
}
