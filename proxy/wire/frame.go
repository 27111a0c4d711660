package wire

import (
	"net/http"
	"strconv"
	"time"
)

// frame completes the head: it decides how the body ends and whether the connection does. What is held of the body is
// all of it if done.
func (w *response) frame(done bool) {
	w.framed = true
	held := w.out[w.body:]
	w.settle()
	w.measure(done, len(held))
	var tail [tailRoom]byte
	t := w.appendFraming(tail[:0], held)
	if w.x.req.Method == http.MethodHead || !w.hasBody() {
		w.out = w.out[:w.body]
	} else if w.chunked {
		t = append(t, chunkRoom...)
		w.open = true
	}
	// The tail goes right in front of the body, and the fields right in front of the tail.
	end := w.body - tailRoom
	w.start = tailRoom - len(t)
	copy(w.out[w.start:], w.out[:end])
	copy(w.out[w.body-len(t):], t)
}

// settle decides whether the connection can be kept, before the answer says so. A client may send all of its body before
// it reads, so what is left of one is read away, if it is not much.
func (w *response) settle() {
	r := &w.x.req
	if r.Close || listed(w.connection, "close") || w.x.c.refused.Load() || w.x.c.srv.closing.Load() {
		w.closing = true
	}
	if w.status == http.StatusSwitchingProtocols { // to which only a handler that takes the connection over can
		w.closing = true
	}
	if w.x.body.over.Load() || w.closing {
		return
	}
	if w.x.body.expect || !w.duplex && !w.x.body.drain() {
		w.closing = true
	}
}

// measure decides how the body ends.
func (w *response) measure(done bool, held int) {
	r := &w.x.req
	switch {
	case w.coding != "" && w.coding != "identity" && w.length >= 0:
		w.misused("response.WriteHeader with both Transfer-Encoding and Content-Length")
		w.length = -1
	case done && w.length < 0 && !w.trailing && w.coding == "" && w.hasBody() && (r.Method != http.MethodHead || held > 0):
		w.length = int64(held)
	}
	switch {
	case r.Method == http.MethodHead, !w.hasBody(), w.length >= 0:
	case r.ProtoMinor > 0 && w.coding != "identity":
		w.chunked = true
	default:
		w.closing = true // the end of the connection is the end of the body
	}
}

// appendFraming writes the fields that are the server's to write, and the end of the head.
func (w *response) appendFraming(b, held []byte) []byte {
	if !w.has.date {
		b = w.x.c.srv.appendDate(append(b, "Date: "...))
		b = append(b, crlf...)
	}
	if w.hasBody() {
		if len(held) > 0 && !w.has.contentType && !w.has.contentEncoding && w.coding == "" {
			b = append(append(append(b, "Content-Type: "...), http.DetectContentType(held)...), crlf...)
		}
		switch {
		case w.length >= 0:
			b = append(b, "Content-Length: "...)
			b = append(strconv.AppendInt(b, w.length, 10), crlf...)
		case w.chunked:
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
	}
	return append(w.appendConnection(b), crlf...)
}

// appendConnection writes a Connection field if the handler's own has not been written.
func (w *response) appendConnection(b []byte) []byte {
	switch http10 := w.x.req.ProtoMinor == 0; {
	case w.status == http.StatusSwitchingProtocols:
	case w.closing && (!http10 || listed(w.connection, "close")):
		b = append(b, "Connection: close\r\n"...)
	case !w.closing && (http10 || listed(w.connection, "keep-alive")):
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// appendDate writes the time of an answer. It is made once a second.
func (s *Server) appendDate(b []byte) []byte {
	now := time.Now()
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{second: now.Unix(), text: now.UTC().Format(http.TimeFormat)}
		s.date.Store(d)
	}
	return append(b, d.text...)
}

// A date is a second as HTTP writes it.
type date struct {
	second int64
	text   string
}
