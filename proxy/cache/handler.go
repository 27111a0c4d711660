package cache

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A handler is a cache with a route's policy.
type handler struct {
	cache  *Cache
	policy *policy
	opts   Options
	next   http.Handler
	marks  map[string][]string // X-Cache, by verdict
}

// Handler answers the requests of a route from the cache, with a Config that Validate accepts, or has next answer them. What
// next is given may be a request that Options.Detach has made, on a goroutine of the cache's; it must not use its
// ResponseWriter after it has returned, and tell Fail of what it cannot answer.
func (c *Cache) Handler(cfg Config, opts Options, next http.Handler) http.Handler {
	return &handler{cache: c, policy: cfg.compile(c.maxObject), opts: opts, next: next, marks: map[string][]string{
		VerdictHit: {"Hit from gatehouse"}, VerdictStale: {"Hit from gatehouse"}, VerdictCollapsed: {"Hit from gatehouse"},
		VerdictRevalidated: {"RefreshHit from gatehouse"}, VerdictMiss: {"Miss from gatehouse"}, VerdictError: {"Error from gatehouse"},
	}}
}

func (h *handler) detach(r *http.Request) *http.Request {
	if h.opts.Detach != nil {
		return h.opts.Detach(r)
	}
	return r.WithContext(context.Background())
}

func (h *handler) scheme(r *http.Request) string {
	if h.opts.Scheme != nil {
		return h.opts.Scheme(r)
	}
	return "https"
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	identified := h.opts.Identified != nil && h.opts.Identified(r)
	if why := h.policy.passes(r, identified); why != "" {
		h.observe(r, w.Header(), Result{Verdict: VerdictPass, Why: why}, 0, 0)
		h.around(w, r)
		return
	}
	q := h.policy.request(r, h.scheme(r))
	if h.policy.obey && q.asks.noStore {
		h.direct(w, q, "no-store")
		return
	}
	h.serve(w, q)
}

// serve answers from what is kept, or fetches.
func (h *handler) serve(w http.ResponseWriter, q *request) {
	solo, known := false, []string(nil)
	for range 4 { // what is kept may vanish, and answers may turn out to be for others
		o := h.cache.find(h.opts.Policy, q)
		use := useMiss
		if o != nil {
			use = h.policy.use(o.terms, q.asks, h.cache.now())
			known = o.names
		}
		switch {
		case use == useStale && !q.asks.onlyIfCached:
			h.refresh(q, o)
			fallthrough
		case use == useFresh:
			verdict := VerdictHit
			if o.terms.ageAt(h.cache.now()) >= o.terms.lifetime {
				verdict = VerdictStale
			}
			h.send(w, q, o, verdict)
			return
		case q.asks.onlyIfCached:
			h.observe(q.r, w.Header(), Result{Verdict: VerdictError, Why: "only-if-cached"}, 0, 0)
			h.opts.Deny(w, q.r, errOnlyIfCached)
			return
		case o == nil && q.r.Method == http.MethodHead:
			h.direct(w, q, "head")
			return
		case o == nil && len(q.r.Header["Range"]) > 0:
			h.direct(w, q, "range")
			return
		}
		if o != nil && !validates(o.header) && len(q.r.Header["Range"]) > 0 {
			h.direct(w, q, "range")
			return
		}
		switch next := h.fetch(w, q, o, solo || h.cache.marked(q.key), known); {
		case next.answered:
			return
		default:
			solo, known = next.solo, next.known
		}
	}
	h.direct(w, q, "contended")
}

// A step is what comes after an attempt to get an answer from a flight.
type step struct {
	answered bool
	solo     bool     // the answer is for nobody but who asks
	known    []string // what variants of the answer depend on
}

// fetch gets an answer from the upstream, together with others that want the same unless solo.
func (h *handler) fetch(w http.ResponseWriter, q *request, o *object, solo bool, known []string) step {
	name := ""
	if !solo {
		name = h.flightName(q, known)
	}
	var rd *reader
	f, leads := h.cache.start(name, func() (f *flight) {
		f, rd = h.fly(q, o, w)
		if solo {
			f.keepConditions(q.r)
		}
		return f
	})
	if f == nil {
		h.direct(w, q, "closing")
		return step{answered: true}
	}
	if leads {
		go f.run()
		return h.lead(w, q, f, rd)
	}
	if rd = f.enter(); rd == nil {
		return step{solo: true, known: known}
	}
	defer f.leave(rd)
	return h.follow(w, q, f, rd)
}

// keepConditions has the upstream judge the conditions of a request that nobody shares, where nothing is kept that could be
// asked about instead.
func (f *flight) keepConditions(r *http.Request) {
	for _, key := range [...]string{"If-None-Match", "If-Modified-Since"} {
		if values := r.Header[key]; f.stale == nil && len(values) > 0 {
			f.out.Header[key] = values
		}
	}
}

// flightName is the same for requests that may have the same answer, as far as is known.
func (h *handler) flightName(q *request, known []string) string {
	var b strings.Builder
	b.Write(q.key[:])
	b.WriteString(h.opts.Policy)
	names := known
	if names == nil {
		names = h.policy.selectors(nil)
	}
	for _, name := range names {
		b.WriteByte(0)
		b.WriteString(q.says(name))
	}
	return b.String()
}

// lead waits for the fetch that a request has caused.
func (h *handler) lead(w http.ResponseWriter, q *request, f *flight, rd *reader) step {
	defer f.leaveLeader(rd)
	phase, ok := f.await(q.r.Context(), func(p phase) bool { return p != phaseWaiting && p != phasePassing }, 0)
	if !ok {
		return step{answered: true} // the client has left
	}
	if f.crash != nil {
		panic(f.crash)
	}
	defer func() {
		if f.over() && h.opts.Fetched != nil {
			h.opts.Fetched(q.r, f.out)
		}
	}()
	switch phase {
	case phasePassed:
		return step{answered: true}
	case phaseFailed:
		if f.passed() {
			panic(http.ErrAbortHandler)
		}
		h.deny(w, q, f)
		return step{answered: true}
	case phaseRetry:
		return step{}
	}
	for key, values := range f.own {
		w.Header()[key] = values
	}
	return h.share(w, q, f, rd, f.verdictFor(VerdictMiss))
}

// follow waits for a fetch that another request has caused.
func (h *handler) follow(w http.ResponseWriter, q *request, f *flight, rd *reader) step {
	phase, ok := f.await(q.r.Context(), func(p phase) bool { return p != phaseWaiting }, maxWait)
	switch {
	case !ok && q.r.Context().Err() != nil:
		return step{answered: true}
	case !ok:
		h.cache.shut(f) // nor need others wait as long for it
		return step{solo: true}
	case phase == phasePassing, phase == phasePassed:
		return step{solo: true}
	case phase == phaseRetry:
		return step{}
	case phase == phaseFailed:
		if f.passed() || f.crash != nil || f.err == errAbandoned { //nolint:errorlint // its own
			return step{solo: true}
		}
		h.deny(w, q, f)
		return step{answered: true}
	}
	return h.share(w, q, f, rd, f.verdictFor(VerdictCollapsed))
}

// share answers with what a flight has got.
func (h *handler) share(w http.ResponseWriter, q *request, f *flight, rd *reader, verdict string) step {
	if len(q.r.Header["Range"]) > 0 { // which needs the whole of it, unless it is never kept
		f.await(q.r.Context(), func(p phase) bool { return p != phaseStreaming || f.tooLong }, 0)
	}
	f.mu.Lock()
	at, o, tooLong := f.phase, f.object, f.tooLong
	f.mu.Unlock()
	if at == phaseStale {
		h.send(w, q, f.stale, VerdictStale)
		return step{answered: true}
	}
	if !o.answers(h.opts.Policy, q) {
		return step{known: o.names}
	}
	switch {
	case at == phaseFailed:
		h.deny(w, q, f)
	case at == phaseDone && !tooLong:
		h.send(w, q, o, verdict)
	default:
		h.stream(w, q, f, rd, o, verdict)
	}
	return step{answered: true}
}

func (h *handler) deny(w http.ResponseWriter, q *request, f *flight) {
	h.observe(q.r, w.Header(), Result{Verdict: VerdictError}, 0, 0)
	h.opts.Deny(w, q.r, f.err)
}

// await waits until a flight's phase is one that is wanted. ok is false if the client has left or the time is over before.
func (f *flight) await(ctx context.Context, want func(phase) bool, limit time.Duration) (_ phase, ok bool) {
	defer context.AfterFunc(ctx, f.wake)()
	var over time.Time
	if limit > 0 {
		over = time.Now().Add(limit)
		timer := time.AfterFunc(limit, f.wake)
		defer timer.Stop()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for !want(f.phase) {
		if ctx.Err() != nil || limit > 0 && !time.Now().Before(over) {
			return f.phase, false
		}
		f.cond.Wait()
	}
	return f.phase, true
}

// wake has those that wait look again.
func (f *flight) wake() {
	f.mu.Lock()
	f.cond.Broadcast()
	f.mu.Unlock()
}

// over reports whether the fetch has ended.
func (f *flight) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.phase > phasePassing
}

// passed reports whether the answer was for the leader alone.
func (f *flight) passed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.object == nil && f.why != ""
}

// verdictFor is the verdict of a request for which another is otherwise.
func (f *flight) verdictFor(otherwise string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fresh {
		return VerdictRevalidated
	}
	return otherwise
}

// refresh fetches what is too old, unless that is being done already.
func (h *handler) refresh(q *request, o *object) {
	select {
	case h.cache.background <- struct{}{}:
	default:
		return
	}
	f, leads := h.cache.start(h.flightName(q, o.names), func() *flight {
		f, _ := h.fly(q, o, nil)
		return f
	})
	if f == nil || !leads {
		<-h.cache.background
		return
	}
	go func() {
		defer func() { <-h.cache.background }()
		f.run()
	}()
}

// direct has the upstream answer a request that nobody shares, without what is not in the key.
func (h *handler) direct(w http.ResponseWriter, q *request, why string) {
	if h.policy.shared {
		h.alone(w, q, why)
		return
	}
	h.observe(q.r, w.Header(), Result{Verdict: VerdictPass, Why: why}, 0, 0)
	out := q.forward(q.r)
	q.conditions(out.Header)
	h.next.ServeHTTP(w, out)
}

// alone is direct where the upstream must not know who asks.
func (h *handler) alone(w http.ResponseWriter, q *request, why string) {
	var rd *reader
	f, _ := h.cache.start("", func() (f *flight) {
		f, rd = h.fly(q, nil, w)
		f.out.Method, f.only = q.r.Method, why
		q.conditions(f.out.Header)
		return f
	})
	if f == nil {
		h.opts.Deny(w, q.r, errClosed)
		return
	}
	go f.run()
	h.lead(w, q, f, rd)
}

// conditions adds what the cache would have judged itself.
func (q *request) conditions(to http.Header) {
	for _, key := range [...]string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"} {
		if values := q.r.Header[key]; len(values) > 0 {
			to[key] = values
		}
	}
}

// around has the upstream answer a request that is none for the cache. One that may have changed something makes what is kept
// of its target invalid, unless it failed (RFC 9111 section 4.4).
func (h *handler) around(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "PROPFIND", "REPORT", "SEARCH", "QUERY":
		h.next.ServeHTTP(w, r)
		return
	}
	t := target{h.scheme(r), r.Host, r.URL.EscapedPath(), r.URL.RawQuery}
	watch := &watcher{ResponseWriter: w, done: func(status int, answer http.Header) {
		if status < 200 || status >= 400 {
			return
		}
		h.cache.invalidate(h.policy, t)
		for _, key := range [...]string{"Location", "Content-Location"} {
			if u, err := url.Parse(one(answer, key)); err == nil && one(answer, key) != "" {
				h.cache.invalidateAt(h.policy, t, u)
			}
		}
	}}
	h.next.ServeHTTP(watch, r)
	if !watch.wrote && r.Context().Err() == nil { // with nobody left there is no answer, and not one that says it succeeded
		watch.WriteHeader(http.StatusOK)
	}
}

// invalidate takes out what is kept of a target, by what of its query is in the key, and keeps nothing of it that is on its way.
func (c *Cache) invalidate(p *policy, t target) {
	c.invalidateKey(t.key())
	if query := p.filterQuery(t.query); query != t.query {
		t.query = query
		c.invalidateKey(t.key())
	}
}

func (c *Cache) invalidateKey(key resourceKey) {
	c.void(func(f *flight) bool { return f.q.key == key })
	if c.disk != nil {
		c.disk.removeKey(key)
	}
	c.store.removeKey(key)
}

// invalidateAt does so for an address that an answer names, if it is at the same place.
func (c *Cache) invalidateAt(p *policy, at target, u *url.URL) {
	base := url.URL{Scheme: at.scheme, Host: at.host, Path: "/"}
	if path, err := url.PathUnescape(at.path); err == nil {
		base.Path, base.RawPath = path, at.path
	}
	u = base.ResolveReference(u)
	if u.Scheme == at.scheme && strings.EqualFold(u.Host, at.host) {
		c.invalidate(p, target{at.scheme, at.host, u.EscapedPath(), u.RawQuery})
	}
}
