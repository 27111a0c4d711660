package authn

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// ErrSessionEnded is the cause of the context that Watch returns: the session was signed out, or has
// reached its absolute end.
var ErrSessionEnded = errors.New("the session has ended")

// Watch is for answers that may outlive their session: WebSockets and streams. The context that it
// returns ends with the request's own, and when the session that the request carries ends, whoever
// ends it. It is nil for a request without a session. stop, which is never nil, must be called when the
// answer is over.
func (s *Sessions) Watch(r *http.Request, ps Providers, cookies []*http.Cookie) (ctx context.Context, stop func()) {
	now := s.now()
	sess, err := s.read(ps, canonicalHost(r.Host), cookies, now)
	if err != nil { // it was valid when the request came in
		ctx, cancel := context.WithCancelCause(r.Context())
		cancel(ErrSessionEnded)
		return ctx, func() {}
	}
	if sess == nil {
		return nil, func() {}
	}
	w := &watch{keys: sess.keys, began: sess.began}
	bounded, release := context.WithDeadlineCause(r.Context(), time.Now().Add(time.Unix(sess.end, 0).Sub(now)), ErrSessionEnded)
	ctx, w.cancel = context.WithCancelCause(bounded)
	s.watches.add(w)
	if s.over(sess) { // since it was read
		w.cancel(ErrSessionEnded)
	}
	return ctx, func() {
		s.watches.remove(w)
		w.cancel(nil)
		release()
	}
}

// watch is an answer that goes on.
type watch struct {
	keys   sessionKeys
	began  int64
	cancel context.CancelCauseFunc
}

// watches are the answers that go on, by what may end them. There are no more of them than
// connections. They are safe for concurrent use; the zero value is empty.
type watches struct {
	mu sync.Mutex
	by map[RevocationKey]map[*watch]struct{}
}

func (ws *watches) add(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.by == nil {
		ws.by = make(map[RevocationKey]map[*watch]struct{})
	}
	for _, key := range w.keys {
		if ws.by[key] == nil {
			ws.by[key] = make(map[*watch]struct{})
		}
		ws.by[key][w] = struct{}{}
	}
}

func (ws *watches) remove(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, key := range w.keys {
		delete(ws.by[key], w)
		if len(ws.by[key]) == 0 {
			delete(ws.by, key)
		}
	}
}

// end ends what a revocation covers.
func (ws *watches) end(rev Revocation) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.by[rev.Key] {
		if w.began < rev.Before {
			w.cancel(ErrSessionEnded)
		}
	}
}
