package cache

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// A refusal is a request that the cache answers itself.
type refusal struct {
	status int
	reason string
	public string
}

func (e *refusal) Error() string   { return "cache: " + e.reason }
func (e *refusal) HTTPStatus() int { return e.status }
func (e *refusal) Public() string  { return e.public }

// errOnlyIfCached is for a request that wants nothing but what is kept (RFC 9111 section 5.2.1.7).
var errOnlyIfCached = error(&refusal{http.StatusGatewayTimeout, "nothing is kept that answers an only-if-cached request", "There is no stored answer to this request."})

// errClosed is for a request that came when the cache was closed already.
var errClosed = error(&refusal{http.StatusServiceUnavailable, "closed", ""})

// send answers with what is kept.
func (h *handler) send(w http.ResponseWriter, q *request, o *object, verdict string) {
	store := h.cache.store
	store.use(o)
	defer store.done(o)
	header := w.Header()
	h.head(header, q.r, o, verdict)
	if o.notModified(q.r.Header, h.cache.now()) {
		notModified(header)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if ranges := q.r.Header["Range"]; len(ranges) > 0 && o.status == http.StatusOK && q.r.Method == http.MethodGet {
		delete(header, "Content-Length")
		part := &http.Request{Method: http.MethodGet, Header: http.Header{"Range": ranges, "If-Range": q.r.Header["If-Range"]}}
		modified, _ := dateOf(o.header, "Last-Modified", h.cache.now())
		http.ServeContent(w, part, "", modified, bytes.NewReader(o.body))
		return
	}
	w.WriteHeader(o.status)
	if q.r.Method != http.MethodHead && len(o.body) > 0 {
		_, _ = w.Write(o.body) // the client may have left; there is nobody to tell
	}
}

// head sets the fields of an answer that is kept, or is about to be.
func (h *handler) head(to http.Header, r *http.Request, o *object, verdict string) {
	for key, values := range o.header {
		if key == "Set-Cookie" {
			values = slices.Concat(to[key], values)
		}
		to[key] = values
	}
	if _, ok := o.header["Content-Type"]; !ok {
		to["Content-Type"] = nil // or the server would guess one
	}
	age := o.terms.ageAt(h.cache.now())
	stored := verdict != VerdictMiss && verdict != VerdictCollapsed
	if stored || age >= time.Second {
		to["Age"] = []string{strconv.FormatInt(min(int64(age/time.Second), maxDelta), 10)}
	}
	h.observe(r, to, Result{Verdict: verdict, Age: age}, o.status, o.terms.lifetime-age)
}

// observe tells what the cache did to whoever wants to know, and in the answer.
func (h *handler) observe(r *http.Request, to http.Header, res Result, status int, ttl time.Duration) {
	if h.policy.markers {
		to["X-Cache"] = h.mark(res.Verdict, status)
		to["Cache-Status"] = []string{statusOf(res, ttl)}
	}
	h.result(r, res)
}

func (h *handler) result(r *http.Request, res Result) {
	if h.opts.Observe != nil {
		h.opts.Observe(r, res)
	}
}

// mark is what X-Cache says, as CloudFront would.
func (h *handler) mark(verdict string, status int) []string {
	if status >= http.StatusBadRequest {
		verdict = VerdictError
	}
	if values := h.marks[verdict]; values != nil {
		return values
	}
	return h.marks[VerdictMiss]
}

// statusOf is what Cache-Status says (RFC 9211).
func statusOf(res Result, ttl time.Duration) string {
	switch res.Verdict {
	case VerdictHit, VerdictStale:
		return "gatehouse; hit; ttl=" + strconv.FormatInt(int64(ttl/time.Second), 10)
	case VerdictRevalidated:
		return "gatehouse; fwd=stale; fwd-status=304; ttl=" + strconv.FormatInt(int64(ttl/time.Second), 10)
	case VerdictMiss:
		if res.Why != "" {
			return "gatehouse; fwd=uri-miss; detail=" + res.Why
		}
		return "gatehouse; fwd=uri-miss; stored"
	case VerdictCollapsed:
		return "gatehouse; fwd=uri-miss; collapsed"
	case VerdictError:
		return "gatehouse; fwd=miss; detail=error"
	}
	if res.Why == "method" {
		return "gatehouse; fwd=method"
	}
	return "gatehouse; fwd=bypass; detail=" + res.Why
}

// notModified reports whether a client has what is kept already (RFC 9110 section 13.2.2).
func (o *object) notModified(asked http.Header, now time.Time) bool {
	if o.status != http.StatusOK {
		return false
	}
	if tags := asked["If-None-Match"]; len(tags) > 0 {
		return matchesTag(tags, o.etag)
	}
	since, ok := dateOf(asked, "If-Modified-Since", now)
	if !ok {
		return false
	}
	modified, ok := dateOf(o.header, "Last-Modified", now)
	if !ok {
		modified, ok = dateOf(o.header, "Date", now) // RFC 9111 section 4.3.2
	}
	return ok && !modified.After(since)
}

// notModified takes out of a header what describes the body that is not sent.
func notModified(h http.Header) {
	for _, key := range [...]string{"Content-Length", "Content-Encoding", "Content-Range", "Trailer"} {
		delete(h, key)
	}
	h["Content-Type"] = nil
}

// stream answers with what a flight has got, as it comes.
func (h *handler) stream(w http.ResponseWriter, q *request, f *flight, rd *reader, o *object, verdict string) {
	header := w.Header()
	h.head(header, q.r, o, verdict)
	if o.notModified(q.r.Header, h.cache.now()) {
		notModified(header)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(o.status)
	if q.r.Method == http.MethodHead {
		return
	}
	flushed := int64(0)
	for {
		part, toFlush, phase := f.next(q.r, rd, flushed)
		if len(part) > 0 {
			if _, err := w.Write(part); err != nil {
				return // the client has left
			}
			f.took(rd, len(part))
		}
		switch {
		case q.r.Context().Err() != nil:
			return
		case phase == phaseFailed:
			panic(http.ErrAbortHandler) // so that it does not look whole
		case phase == phaseDone && f.hasAll(rd):
			return
		case toFlush > flushed && rd.at >= toFlush:
			flushed = toFlush
			_ = http.NewResponseController(w).Flush() // a client that left shows at the next write
		}
	}
}

// next waits until there is more for a client: a part of the body, or something to flush, or the end.
func (f *flight) next(r *http.Request, rd *reader, flushed int64) (part []byte, toFlush int64, _ phase) {
	ctx := r.Context()
	defer context.AfterFunc(ctx, f.wake)()
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if rd.cut {
			return nil, 0, phaseFailed
		}
		part = f.body[rd.at-f.base:]
		part = part[:min(len(part), window)] // so that it shows how far a slow client is
		if len(part) > 0 || f.phase != phaseStreaming || f.flushed > flushed && rd.at >= f.flushed || ctx.Err() != nil {
			break
		}
		f.cond.Wait()
	}
	return part, f.flushed, f.phase
}

// took says that a client has got n more bytes.
func (f *flight) took(rd *reader, n int) {
	f.mu.Lock()
	rd.at += int64(n)
	if f.tooLong {
		f.cond.Broadcast()
	}
	f.mu.Unlock()
}

func (f *flight) hasAll(rd *reader) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rd.at == f.base+int64(len(f.body))
}
