package upstream

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strings"
	"time"
)

const (
	// grace is the first wait for the upstream: only after it is it worth watching whether the client is still there,
	// and flushing what it has not seen of a sized answer. Most answers come sooner, and cost neither.
	grace = 20 * time.Millisecond
	// maxInformational is how many 1xx responses one answer may have.
	maxInformational = 16
	// lasting is how much of an answer may have been relayed, in bytes, before it counts as one that lasts although
	// the upstream never pauses.
	lasting = 1 << 20
)

// Read reads from the connection as the moment asks: it is the stream's source.
func (x *exchange) Read(p []byte) (int, error) {
	c := x.c
	switch {
	case x.held:
		c.sock.SetReadDeadline(time.Now().Add(continueWait))
		x.graced = false
		n, err := c.rw.Read(p)
		if n > 0 || err == nil || !isTimeout(err) {
			return n, err
		}
		x.proceed()
	case !x.streamed:
		if !x.graced {
			c.sock.SetReadDeadline(time.Now().Add(grace))
		}
		x.graced = false
		n, err := c.rw.Read(p)
		if n > 0 || err == nil || !isTimeout(err) {
			return n, err
		}
		x.pause()
	}
	for {
		c.sock.SetReadDeadline(time.Now().Add(x.p.responseTimeout))
		n, err := c.rw.Read(p)
		if n > 0 || err == nil || !isTimeout(err) || !x.uploading() {
			return n, err
		}
	}
}

// uploading reports whether the upstream cannot be blamed for its silence yet: the request has not been sent, or was
// not until a moment ago.
func (x *exchange) uploading() bool {
	u := x.up
	if u == nil {
		return false
	}
	if !u.over() {
		return true
	}
	return time.Since(time.Unix(0, u.ended.Load())) < x.p.responseTimeout && u.err == nil
}

// pause is called when the upstream has nothing to say just now.
func (x *exchange) pause() {
	x.watch()
	x.bindUntil()
	if x.dirty {
		x.dirty = false
		_ = x.control().Flush() // a client that left shows at the next write
	}
}

// readHead reads response heads up to the final one and relays the others.
func (x *exchange) readHead() error {
	for range maxInformational {
		n, err := x.awaitHead()
		if err != nil {
			return err
		}
		clear(x.in)
		hd, err := parseHead(string(x.s.take(n)), x.in)
		if err == nil {
			err = hd.frame(x.r.Method, x.in)
		}
		if err != nil {
			return err
		}
		x.hd = hd
		if hd.status >= 200 {
			x.result.Status = hd.status
			return nil
		}
		if hd.status == http.StatusSwitchingProtocols {
			x.result.Status = hd.status
			if !x.upgrade {
				return malformed("101 although no upgrade was asked for")
			}
			return nil
		}
		x.relayInformational()
	}
	return malformed("more than %d informational responses", maxInformational)
}

// awaitHead reads until a whole head is buffered and returns its length.
func (x *exchange) awaitHead() (int, error) {
	seen := 0
	for {
		b := x.s.buffered()
		if len(b) > 0 {
			if x.result.FirstByte == 0 {
				x.result.FirstByte = max(time.Since(x.sent), 1)
			}
			if cannotBeHead(b) {
				return 0, malformed("status line: want HTTP/1.0 or HTTP/1.1, got %.16q", b)
			}
			if n := headEnd(b, seen); n >= 0 {
				return n, nil
			}
		}
		seen = len(b)
		if x.s.w == len(x.s.buf) {
			if seen >= maxHead {
				return 0, &Error{Reason: ReasonHeadTooLarge}
			}
			if x.s.r == 0 {
				x.grow()
			}
		}
		if err := x.s.more(); err != nil {
			if seen > 0 {
				err = eofIsTruncation(err)
			}
			return 0, x.failed(ReasonNoResponse, err)
		}
	}
}

// relayInformational passes a 1xx response on (RFC 9110 section 15.2). HTTP/1.0 knows none.
func (x *exchange) relayInformational() {
	hd := x.hd
	if hd.status == http.StatusContinue && x.expect {
		if x.held {
			x.proceed()
		}
		return // or the body was let go without it
	}
	x.endToEnd(nil)
	x.writeInformational(hd.status)
}

// writeInformational writes a 1xx response with the fields in x.in, and leaves those for the final answer alone.
// Cookies stay behind: a client may ignore them there (RFC 6265 section 3), and Options.Response has not seen them.
func (x *exchange) writeInformational(status int) {
	if !x.r.ProtoAtLeast(1, 1) {
		return
	}
	h := x.w.Header()
	kept := maps.Clone(h)
	clear(h)
	for key, values := range x.in {
		if key != "Content-Length" && key != "Set-Cookie" {
			h[key] = values
		}
	}
	x.w.WriteHeader(status)
	clear(h)
	maps.Copy(h, kept)
}

// endToEnd takes out of the answer's fields what belongs to the upstream's connection. It adds the names that the
// upstream announces as trailers to names.
func (x *exchange) endToEnd(names []string) []string {
	in := x.in
	if connection := in["Connection"]; len(connection) > 0 {
		x.drop = listed(x.drop[:0], connection, keepInResponse)
		for _, key := range x.drop {
			delete(in, key)
		}
	}
	for _, v := range in["Trailer"] {
		for part := range strings.SplitSeq(v, ",") {
			if key := textproto.CanonicalMIMEHeaderKey(trim(part)); validToken(key) && trailerAllowed(key) {
				names = append(names, key)
			}
		}
	}
	for key := range in {
		if hopByHop(key) {
			delete(in, key)
		}
	}
	return names
}

// relay passes the final answer on.
func (x *exchange) relay() error {
	length := x.in["Content-Length"]
	trailers := x.endToEnd(nil)
	x.copyResponseHeader(length)
	h := x.w.Header()
	x.streamed = x.hd.kind == bodyChunked || x.hd.kind == bodyUntilEOF || eventStream(h["Content-Type"])
	if x.streamed {
		x.c.sock.waiting = x.pauseFn
	}
	if x.hd.kind == bodyChunked && len(trailers) > 0 {
		h["Trailer"] = trailers
	}
	x.closeAfter(h)
	x.body = body{s: &x.s, kind: x.hd.kind, remain: x.hd.length, grow: x.growFn}
	x.wrote, x.dirty = true, true
	x.w.WriteHeader(x.hd.status)
	x.topUp()
	if err := x.copyBody(); err != nil {
		return err
	}
	x.relayTrailer(trailers)
	return nil
}

// copyResponseHeader lets the route's hook see the answer's fields, and copies them.
func (x *exchange) copyResponseHeader(length []string) {
	if x.h.opts.RestorePrefix {
		x.restorePrefix()
	}
	if x.h.opts.Response != nil {
		x.h.opts.Response(x.r, x.in)
	}
	h := x.w.Header()
	for key, values := range x.in {
		if key == "Set-Cookie" && len(h[key]) > 0 {
			h[key] = append(h[key][:len(h[key]):len(h[key])], values...)
			continue
		}
		h[key] = values
	}
	if s := x.h.opts.Sticky; s != nil {
		proto, _ := x.entrance()
		s.bind(x.r, x.at, proto == "https", h)
	}
	// The framing is not the hook's.
	delete(h, "Transfer-Encoding")
	switch {
	case x.hd.kind == bodySized, len(length) > 0 && x.r.Method == http.MethodHead && x.hd.status != http.StatusNoContent:
		h["Content-Length"] = length[:1:1]
		if strings.IndexByte(length[0], ',') >= 0 {
			n, _, _ := strings.Cut(length[0], ",")
			h["Content-Length"] = []string{trim(n)} // RFC 9112 section 6.3: equal values become one
		}
	default:
		// A 304 may have the length of what it does not send, but net/http writes none in HTTP/1, and Go's HTTP/2
		// client takes one for a promise.
		delete(h, "Content-Length")
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or the server would guess one
	}
}

// eventStream reports whether a Content-Type is that of server-sent events.
func eventStream(contentType []string) bool {
	if len(contentType) == 0 {
		return false
	}
	t, _, _ := strings.Cut(contentType[0], ";")
	return strings.EqualFold(trim(t), "text/event-stream")
}

// topUp takes more of a body that is known to be longer than what came with the head, if it is there already: one
// big write to the client costs less than a small one and a big one.
func (x *exchange) topUp() {
	if !x.s.full || x.hd.kind != bodySized || x.hd.length <= int64(len(x.s.buffered())) {
		return
	}
	x.grow()
	x.c.sock.now = true
	if n, err := x.c.rw.Read(x.s.buf[x.s.w:]); err == nil {
		x.s.w += n // an error comes again
		x.s.full = x.s.w == len(x.s.buf)
	}
	x.c.sock.now = false
}

// copyBody copies the body. What has arrived is flushed when the upstream makes a pause.
func (x *exchange) copyBody() error {
	relayed := 0
	for {
		p, err := x.body.next()
		end := err == io.EOF //nolint:errorlint // next returns it bare
		if end && x.hd.kind == bodyUntilEOF && x.c.truncated() {
			end, err = false, errTruncated
		}
		if err != nil && !end {
			return x.bodyFailed(err)
		}
		if end {
			x.whole = true
			x.endConn() // p stays: the buffer is ours
		}
		if relayed += len(p); relayed > lasting && !end {
			x.bindUntil()
		}
		if len(p) > 0 {
			x.dirty = true
			if _, err := x.w.Write(p); err != nil {
				return &Error{Reason: ReasonClientGone, Err: err}
			}
		}
		if end {
			return nil
		}
	}
}

func (x *exchange) bodyFailed(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return x.failed(ReasonTruncated, err)
}

// relayTrailer passes the trailer section on: announced fields under their names, others with net/http's prefix.
func (x *exchange) relayTrailer(announced []string) {
	if len(x.body.trailer) == 0 {
		return
	}
	// A short body without a flush would get a Content-Length, and then no trailers.
	_ = x.control().Flush()
	h := x.w.Header()
	for _, key := range announced {
		if values, ok := x.body.trailer[key]; ok {
			h[key] = values
			delete(x.body.trailer, key)
		}
	}
	for key, values := range x.body.trailer {
		h[http.TrailerPrefix+key] = values
	}
}
