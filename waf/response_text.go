package waf

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/experimental"

	"gatehouse/waf/rx"
)

// begin begins a transaction for an answer, which may be so much work.
func (a *answers) begin(r *http.Request, work int) (transaction, *inspection, error) {
	e := a.engine
	opts := experimental.Options{Context: r.Context()}
	if e.opts.RequestID != nil {
		opts.ID = e.opts.RequestID(r)
	}
	tx, ok := e.waf.NewTransactionWithOptions(opts).(transaction)
	if !ok {
		return nil, nil, &Failure{Reason: "engine has no variables", Status: http.StatusInternalServerError}
	}
	if e.gate == nil {
		return tx, nil, nil
	}
	m := rx.NewMeter(work)
	in := &inspection{tx: tx, gate: e.gate, judgement: e.gate.Begin(m), meter: m}
	e.root.requests.Store(tx, in)
	return tx, in, nil
}

// feedAnswer gives tx an answer. The text is decoded, so its coding is not said: the set would not look at it.
func feedAnswer(tx transaction, r *http.Request, status int, h http.Header, text []byte) {
	vars := tx.Variables()
	setSingle(vars.RequestMethod(), r.Method)
	setSingle(vars.ResponseStatus(), strconv.Itoa(status))
	setSingle(vars.ResponseProtocol(), r.Proto)
	for name, values := range h {
		if name == "Content-Encoding" {
			continue
		}
		for _, value := range values {
			tx.AddResponseHeader(name, value)
		}
	}
	setSingle(vars.ResponseBody(), string(text))
	setSingle(vars.ResponseContentLength(), strconv.Itoa(len(text)))
}

// hasText reports that an answer has a body that is inspected: one of a textual type that is not a stream of events.
// Parts of a text are not inspected: they may begin in the middle of a word, or of a coding.
func hasText(r *http.Request, status int, h http.Header) bool {
	if r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified ||
		status == http.StatusPartialContent || h.Get("Content-Range") != "" {
		return false
	}
	types := h["Content-Type"]
	if len(types) == 0 {
		return true // browsers guess, and so does net/http
	}
	for _, t := range types {
		if isText(t) {
			return true
		}
	}
	return false
}

// isText has the types of text that an application makes. Its own source has some too.
func isText(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.Trim(t, " \t"))
	kind, sub, _ := strings.Cut(t, "/")
	switch kind {
	case "text":
		return sub != "event-stream"
	case "application":
	default:
		return t == "" // the same as none
	}
	switch sub {
	case "json", "xml", "javascript", "x-javascript", "ecmascript",
		"x-httpd-php", "x-httpd-php-source", "x-php", "x-sh", "x-perl", "x-python", "x-ruby":
		return true
	}
	if strings.HasPrefix(sub, "grpc") {
		return false
	}
	return strings.HasSuffix(sub, "+json") || strings.HasSuffix(sub, "+xml")
}

// text is the start of a body as its reader will see it, up to the limit. Done gives back what it takes. A body
// that breaks off is the start of one; any other fault is an error, since nobody knows what its reader makes of it.
func (a *answers) text(coding []string, body []byte) (text []byte, done func(), err error) {
	done = func() {}
	var open func(*bufio.Reader) (io.Reader, error)
	switch name := strings.ToLower(strings.TrimSpace(strings.Join(coding, ","))); name {
	case "", "identity":
		return body, done, nil
	case "gzip", "x-gzip":
		open = a.gunzip
	case "deflate":
		open = inflate
	default:
		return nil, done, fmt.Errorf("content coding %.40q (want gzip or deflate)", name)
	}
	if len(body) == 0 {
		return nil, done, nil
	}
	buf := a.buffers.Get().(*[]byte)
	src, err := open(bufio.NewReader(bytes.NewReader(body)))
	done = func() {
		a.giveBack(buf)
		if z, ok := src.(*gzip.Reader); ok {
			a.gzips.Put(z)
		}
	}
	if err == nil {
		err = readUpTo(src, buf, a.limit)
	}
	text = *buf
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return text, done, err
}

// readUpTo reads into out as far as the limit. With an error, out has what came before it.
func readUpTo(src io.Reader, out *[]byte, limit int) error {
	const step = 16 << 10
	for b := *out; ; {
		b = slices.Grow(b, min(step, limit-len(b)))
		n, err := src.Read(b[len(b):min(cap(b), limit)])
		b = b[:len(b)+n]
		*out = b
		if err != nil || len(b) == limit {
			return err //nolint:wrapcheck // the caller says what it is about
		}
	}
}

func (a *answers) gunzip(src *bufio.Reader) (io.Reader, error) {
	if z, ok := a.gzips.Get().(*gzip.Reader); ok {
		return z, z.Reset(src) //nolint:wrapcheck // text's caller says what it is about
	}
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, err //nolint:wrapcheck // the same
	}
	return z, nil
}

// inflate reads deflate with the zlib header that it should have, and without, as browsers do (RFC 9110 section
// 8.4.1.2).
func inflate(src *bufio.Reader) (io.Reader, error) {
	const (
		method, methodMask = 8, 0x0f
		check              = 31
	)
	if head, err := src.Peek(2); err == nil && head[0]&methodMask == method && (int(head[0])<<8|int(head[1]))%check == 0 {
		_, _ = src.Discard(2)
	}
	return flate.NewReader(src), nil
}

// askReadable asks for no content coding that cannot be undone here: gzip, or none. The client's list is
// otherwise what it was. It changes r, but not its header.
func askReadable(r *http.Request) *http.Request {
	asked := r.Header["Accept-Encoding"]
	narrow := narrowCodings(asked)
	if len(asked) == 1 && asked[0] == narrow {
		return r
	}
	r.Header = maps.Clone(r.Header)
	r.Header["Accept-Encoding"] = []string{narrow}
	return r
}

// narrowCodings is what is left of Accept-Encoding. Without the field any coding is acceptable, with an empty one
// none is (RFC 9110 section 12.5.3).
func narrowCodings(asked []string) string {
	var kept []string
	gzips, any := false, ""
	for _, list := range asked {
		for item := range strings.SplitSeq(list, ",") {
			name, weight, _ := strings.Cut(item, ";")
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case "gzip", "x-gzip":
				gzips = true
				kept = append(kept, strings.TrimSpace(item))
			case "identity":
				kept = append(kept, strings.TrimSpace(item))
			case "*":
				any = "gzip"
				if weight = strings.TrimSpace(weight); weight != "" {
					any += ";" + weight
				}
			}
		}
	}
	if !gzips && any != "" {
		kept = append(kept, any)
	}
	if len(kept) == 0 {
		return "identity"
	}
	return strings.Join(kept, ", ")
}
