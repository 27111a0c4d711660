package cache

import (
	"net/http"
	"strconv"
)

// A sink takes what the upstream says. It is no wrapper of a client's writer: one is used only for an answer that may not be
// kept, and only while its client waits for that.
type sink struct {
	f        *flight
	header   http.Header
	to       http.ResponseWriter // the leader's, for an answer that passes
	wrote    bool
	stale    bool  // what is kept is used instead of this
	retry    bool  // what is kept is not what the upstream says is good
	failed   error // what Fail was given
	reserved int64
}

// Fail tells the cache that the request behind w could not be answered. It reports false for a w that is no cache's: whoever
// answers requests behind a cache calls it before it denies one.
func Fail(w http.ResponseWriter, err error) bool {
	s, ok := w.(*sink)
	if !ok || s.to != nil {
		return false
	}
	s.failed = err
	return true
}

// Header returns the fields of the answer.
func (s *sink) Header() http.Header {
	if s.to != nil {
		return s.to.Header()
	}
	return s.header
}

// WriteHeader takes the head of an answer, or passes one that is not final on to the leader.
func (s *sink) WriteHeader(status int) {
	if s.wrote {
		return
	}
	if status < 200 {
		s.inform(status)
		return
	}
	s.wrote = true
	s.f.head(s, status)
}

func (s *sink) inform(status int) {
	w := s.f.hold()
	if w == nil {
		return
	}
	defer s.f.letGo()
	h := w.Header()
	kept := h.Clone()
	clear(h)
	for key, values := range s.header {
		h[key] = values
	}
	w.WriteHeader(status)
	clear(h)
	for key, values := range kept {
		h[key] = values
	}
}

// Write takes a part of the body. It fails when nobody wants it.
func (s *sink) Write(p []byte) (int, error) {
	if !s.wrote {
		s.WriteHeader(http.StatusOK)
	}
	switch {
	case s.to != nil:
		return s.to.Write(p) //nolint:wrapcheck // the client's own
	case s.stale || s.retry || s.failed != nil || s.f.fresh:
		return 0, errAbandoned
	}
	if err := s.grow(int64(len(p))); err != nil {
		return 0, err
	}
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drain()
	if len(f.readers) == 0 && f.leader == nil && f.tooLong || f.out.Context().Err() != nil {
		return 0, errAbandoned
	}
	f.body = append(f.body, p...)
	f.cond.Broadcast()
	return len(p), nil
}

// grow reserves memory for n more bytes of a body whose length is not known, or has it streamed without being kept.
func (s *sink) grow(n int64) error {
	f := s.f
	f.mu.Lock()
	has, tooLong := int64(len(f.body)), f.tooLong
	f.mu.Unlock()
	if tooLong || has+n <= s.reserved {
		return nil
	}
	if one(f.object.header, "Content-Length") != "" {
		return errLength
	}
	more := max(has+n-s.reserved, min(s.reserved, f.c.maxObject), 16<<10)
	if has+n <= f.c.maxObject && f.c.reserve(more) {
		s.reserved += more
		return nil
	}
	f.c.shut(f) // nobody may join any more
	f.c.mark(f.q.key, true)
	f.mu.Lock()
	f.tooLong = true
	f.cond.Broadcast()
	f.mu.Unlock()
	return nil
}

// room reserves memory for a body whose length is known.
func (s *sink) room() (why string) {
	length := one(s.header, "Content-Length")
	if length == "" {
		return ""
	}
	n, err := strconv.ParseInt(length, 10, 64)
	switch {
	case err != nil || n < 0:
		return "length"
	case n > s.f.c.maxObject:
		return "size"
	case !s.f.c.reserve(n):
		return "memory"
	}
	s.reserved = n
	return ""
}

// Flush says that clients should see what has come.
func (s *sink) Flush() { _ = s.FlushError() }

// FlushError is Flush for http.ResponseController.
func (s *sink) FlushError() error {
	if s.to != nil {
		return http.NewResponseController(s.to).Flush() //nolint:wrapcheck // the client's own
	}
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == phaseStreaming {
		f.flushed = f.base + int64(len(f.body))
		f.cond.Broadcast()
	}
	return nil
}

// A watcher sees the head of an answer to a request that may have changed something.
type watcher struct {
	http.ResponseWriter
	done  func(status int, answer http.Header)
	wrote bool
}

// Unwrap gives http.ResponseController the writer below.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sees the final head, before the client does: what it asks for next is not what was before.
func (w *watcher) WriteHeader(status int) {
	if status >= 200 && !w.wrote {
		w.wrote = true
		w.done(status, w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *watcher) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p) //nolint:wrapcheck // the client's own
}
