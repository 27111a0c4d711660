package cache

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A phase is how far a flight is.
type phase uint8

const (
	phaseWaiting   phase = iota // for the head
	phaseStreaming              // the answer may be kept, and clients get what has come of it
	phasePassing                // it may not: it goes to the leader as it comes
	phaseDone                   // object is complete
	phasePassed                 // the leader has had it
	phaseStale                  // the upstream failed, and what is kept may be used
	phaseRetry                  // what was kept is gone, and has to be fetched anew
	phaseFailed                 // err says why
)

// window is how much of a body that turns out too long to keep is held for the slowest of its clients, in bytes.
const window = 32 << 10

var (
	errAbandoned = error(&refusal{http.StatusBadGateway, "nobody waits for this answer", ""})
	errBroken    = error(&refusal{http.StatusBadGateway, "the answer broke off", ""})
	errLength    = error(&refusal{http.StatusBadGateway, "the answer is not as long as it says", ""})
)

// pace is how much the slowest clients of such a body have to take for every maxWait that others wait for them, in bytes.
const pace = 256 << 10

// A flight is one fetch from the upstream, on a goroutine of its own, and the clients that wait for it. Its leader is the client
// that caused it; the others joined it. A client that leaves holds up no other, nor does one that reads slowly, unless the body is
// too long to keep: then all get it at the pace of the slowest, and one that is slower than pace is cut off.
type flight struct {
	c      *Cache
	h      *handler
	q      *request
	stale  *object // what the upstream is asked about; nil for nothing
	asked  time.Time
	cancel context.CancelFunc
	out    *http.Request // as the upstream gets it
	only   string        // why its answer is for the leader alone, whatever it is; "" if it is not
	alone  bool          // it goes on although nobody waits for it
	name   string        // under which others find it; "" if they do not. Guarded by c.mu

	mu       sync.Mutex
	cond     sync.Cond
	phase    phase
	readers  map[*reader]struct{}
	leader   http.ResponseWriter // the leader's, while it waits; nil for a fetch in the background
	held     bool                // the fetch is using it
	why      string              // why the answer is not kept
	fresh    bool                // object is what was kept, freshened
	object   *object             // its body is complete in phaseDone only
	own      http.Header         // fields of the answer that are for the leader only
	body     []byte              // what has come of it, from base on
	base     int64
	flushed  int64 // what the upstream wants to have reached its client
	tooLong  bool
	voided   bool  // what it is for was purged
	reserved int64 // of the cache's, once it is over, for those that are still being sent the body
	err      error
	crash    any // what the fetch panicked with
}

// A reader is a client of a flight.
type reader struct {
	at   int64
	held time.Duration // how long others have waited for it, since it had got as far as from
	from int64
	cut  bool // it was too slow, and gets nothing more
}

// fly makes a flight for q that the caller has to run. w is the leader's writer, or nil.
func (h *handler) fly(q *request, stale *object, w http.ResponseWriter) (*flight, *reader) {
	f := &flight{c: h.cache, h: h, q: q, stale: stale, asked: h.cache.now(), leader: w, alone: w == nil, readers: map[*reader]struct{}{}}
	f.cond.L = &f.mu
	rd := &reader{}
	if w != nil {
		f.readers[rd] = struct{}{}
	}
	out := q.forward(h.detach(q.r))
	out.Method = http.MethodGet
	if stale != nil {
		if stale.etag != "" {
			out.Header["If-None-Match"] = []string{stale.etag}
		}
		if modified := one(stale.header, "Last-Modified"); modified != "" {
			out.Header["If-Modified-Since"] = []string{modified}
		}
	}
	ctx, cancel := context.WithCancel(out.Context())
	f.out, f.cancel = out.WithContext(ctx), cancel
	return f, rd
}

// join lets one more client wait, if that is worth its while. It is called with c.mu held.
func (f *flight) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.phase <= phaseStreaming && !f.tooLong && len(f.readers) < maxWaiters
}

// enter makes a client one of those that the flight is for. It reports false if it has become too late for that.
func (f *flight) enter() *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tooLong || f.phase <= phaseStreaming && len(f.readers) == 0 && !f.alone {
		return nil // the last one has left, and that ended it
	}
	rd := &reader{}
	f.readers[rd] = struct{}{}
	return rd
}

// leave takes a client out. The last one that leaves ends the fetch.
func (f *flight) leave(rd *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveLocked(rd)
}

func (f *flight) leaveLocked(rd *reader) {
	if _, ok := f.readers[rd]; !ok {
		return
	}
	delete(f.readers, rd)
	if !f.wanted() && f.phase <= phasePassing && !f.alone {
		f.cancel()
	}
	if len(f.readers) == 0 {
		f.c.unreserve(f.reserved)
		f.reserved = 0
	}
	f.cond.Broadcast()
}

// land gives back what was reserved for the body, as soon as nobody is being sent it: a client that reads slowly keeps it in memory
// for as long, whether it is in the store or not.
func (f *flight) land(reserved int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) > 0 {
		f.reserved = reserved
		return
	}
	f.c.unreserve(reserved)
}

// leaveLeader is leave for the leader: its writer is not used when it returns.
func (f *flight) leaveLeader(rd *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.held {
		if f.phase == phasePassing || len(f.readers) == 1 {
			f.cancel() // while it writes to a client that is gone; with a 1xx, others may still want the rest
		}
		f.cond.Wait()
	}
	f.leader = nil
	f.leaveLocked(rd)
}

// hold gives the fetch the leader's writer, or nil if it has left.
func (f *flight) hold() http.ResponseWriter {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = f.leader != nil
	return f.leader
}

func (f *flight) letGo() {
	f.mu.Lock()
	f.held = false
	f.cond.Broadcast()
	f.mu.Unlock()
}

// run fetches.
func (f *flight) run() {
	defer f.c.fetches.Done()
	unbind := context.AfterFunc(f.c.ctx, f.cancel)
	s := &sink{f: f, header: make(http.Header)}
	defer func() {
		v := recover()
		var stack []byte
		if v != nil {
			stack = debug.Stack()
		}
		unbind()
		f.cancel()
		f.end(s, v, stack)
		f.save()
		f.c.landed(f)
		f.land(s.reserved)
	}()
	f.h.next.ServeHTTP(s, f.out)
	switch {
	case s.wrote || s.failed != nil:
	case f.out.Context().Err() != nil:
		s.failed = errAbandoned // nobody was left to answer: that is no empty answer
	default:
		s.WriteHeader(http.StatusOK)
	}
}

// end decides what has become of a fetch.
func (f *flight) end(s *sink, v any, stack []byte) {
	err := s.failed
	switch {
	case v == nil || err != nil:
	case v == http.ErrAbortHandler: //nolint:errorlint // net/http compares the panic value the same way
		err = errBroken
	default:
		err = errBroken
		f.crash = fmt.Sprintf("%v\n\n%s", v, stack)
	}
	if err == nil && f.object != nil && f.phase == phaseStreaming && !f.tooLong {
		err = f.complete()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.c.now()
	switch {
	case f.phase == phasePassing && err == nil:
		f.phase = phasePassed
	case f.phase == phaseStreaming && err == nil:
		f.phase = phaseDone
	case f.phase == phaseWaiting && f.fresh:
		f.phase = phaseDone
	case f.phase == phaseWaiting && s.retry:
		f.phase = phaseRetry
	case f.phase == phaseWaiting && (s.stale || f.stale != nil && f.stale.terms.mayServeFailing(now)):
		f.phase = phaseStale
	default:
		f.phase = phaseFailed
		f.err = err
		if err == nil {
			f.err = errBroken
		}
	}
	f.held = false
	f.cond.Broadcast()
}

// complete keeps an answer whose body has come.
func (f *flight) complete() error {
	o := f.object
	if length := one(o.header, "Content-Length"); length != "" {
		if n, err := strconv.ParseInt(length, 10, 64); err != nil || n != int64(len(f.body)) && !bodiless(o.status) {
			return errLength
		}
	}
	done := o.again()
	done.body = slices.Clip(f.body)
	if cap(f.body) > len(f.body)+len(f.body)/8 {
		done.body = slices.Clone(f.body)
	}
	if len(o.header["Content-Length"]) == 0 && !bodiless(o.status) {
		done.header = make(http.Header, len(o.header)+1)
		for key, values := range o.header {
			done.header[key] = values
		}
		done.header["Content-Length"] = []string{strconv.Itoa(len(done.body))}
	}
	f.mu.Lock()
	f.object = done.finish()
	f.mu.Unlock()
	f.keep(done)
	return nil
}

// keep keeps an answer, unless it has been purged meanwhile.
func (f *flight) keep(o *object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.voided {
		f.c.store.put(o)
	}
}

// save keeps what has come on the disk as well, where there is one. Nobody waits for it.
func (f *flight) save() {
	d := f.c.disk
	f.mu.Lock()
	saves := d != nil && f.phase == phaseDone && !f.fresh && !f.voided
	f.mu.Unlock()
	if !saves {
		return
	}
	d.write(f.object)
	f.mu.Lock()
	voided := f.voided
	f.mu.Unlock()
	if voided {
		d.remove(f.object)
	}
}

// bodiless reports the status codes that have no body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// head decides what becomes of an answer.
func (f *flight) head(s *sink, status int) {
	if f.only != "" {
		f.pass(s, status, f.only)
		return
	}
	a := answer{
		status: status, header: s.header, authorized: len(f.out.Header["Authorization"]) > 0 && !slices.Contains(f.h.policy.headers, "Authorization"),
		asked: f.asked, got: f.c.now(),
	}
	if f.stale != nil && status == http.StatusNotModified {
		if s.retry = !f.freshen(a); s.retry {
			f.c.remove(f.stale)
		}
		return
	}
	if f.stale != nil && fails(status) && f.stale.terms.mayServeFailing(a.got) {
		s.stale = true
		return
	}
	t, why := f.h.policy.store(a)
	if why == "" {
		why = s.room()
	}
	if f.stale != nil && why != "" && !fails(status) {
		f.c.remove(f.stale) // it is not good any more
	}
	if why != "" {
		f.pass(s, status, why)
		return
	}
	o := &object{
		target: f.q.target.clone(), policy: f.h.opts.Policy, names: f.h.policy.selectors(s.header), status: status,
		header: keptHeader(s.header, t.without), terms: t, tags: tagsOf(s.header),
	}
	for _, name := range o.names {
		o.values = append(o.values, f.q.says(name))
	}
	if len(o.header["Date"]) == 0 {
		o.header["Date"] = []string{a.got.UTC().Format(http.TimeFormat)} // RFC 9110 section 6.6.1
	}
	o.etag = one(o.header, "Etag")
	f.c.mark(f.q.key, false)
	f.mu.Lock()
	f.object, f.phase = o, phaseStreaming
	for _, key := range t.without {
		if values := s.header[key]; values != nil && key != "Set-Cookie" && !notKept(key) {
			if f.own == nil {
				f.own = make(http.Header)
			}
			f.own[key] = values
		}
	}
	if n := s.reserved; n > 0 {
		f.body = make([]byte, 0, n)
	}
	f.cond.Broadcast()
	f.mu.Unlock()
}

// freshen makes of what is kept and a 304 an answer that is good again. It reports false if the 304 is about another one.
func (f *flight) freshen(a answer) bool {
	old := f.stale
	if tag := one(a.header, "Etag"); tag != "" && old.etag != "" && opaque(tag) != opaque(old.etag) {
		return false
	}
	from := a.header.Clone()
	if f.h.policy.setCookie != SetCookieStore {
		delete(from, "Set-Cookie") // whoever sets one with a 304 answers a person
	}
	if len(from["Date"]) == 0 {
		from["Date"] = []string{a.got.UTC().Format(http.TimeFormat)}
	}
	merged := a
	merged.status, merged.header = old.status, freshened(old.header, from, nil)
	merged.authorized = false // it has been kept on these terms before
	t, why := f.h.policy.store(merged)
	o := old.again()
	o.header, o.terms = keptHeader(merged.header, t.without), t
	if len(a.header["Surrogate-Key"])+len(a.header["Cache-Tag"]) > 0 {
		o.tags = tagsOf(a.header)
	}
	o.names, o.values = f.h.policy.selectors(o.header), nil
	for _, name := range o.names {
		o.values = append(o.values, f.q.says(name))
	}
	o.finish()
	if why == "" {
		f.keep(o)
		f.c.store.remove(old) // if it is not replaced already
	} else {
		o.terms.got, o.terms.age = merged.got, initialAge(merged)
		f.c.remove(old)
	}
	f.mu.Lock()
	f.object, f.fresh, f.why = o, true, why
	f.mu.Unlock()
	return true
}

// pass has an answer that is not kept go to the leader.
func (f *flight) pass(s *sink, status int, why string) {
	if !fails(status) && f.only == "" {
		f.c.mark(f.q.key, true)
	}
	f.mu.Lock()
	w := f.leader
	if w == nil {
		f.phase = phasePassing // for those that wait: they go by themselves
		f.cond.Broadcast()
		f.mu.Unlock()
		s.failed = errAbandoned
		return
	}
	f.held, f.phase, f.why = true, phasePassing, why
	f.cond.Broadcast()
	f.mu.Unlock()
	h := w.Header()
	for key, values := range s.header {
		if key == "Set-Cookie" {
			values = slices.Concat(h[key], values)
		}
		h[key] = values
	}
	s.to = w
	f.h.observe(f.q.r, h, Result{Verdict: VerdictMiss, Why: why}, status, 0)
	w.WriteHeader(status)
}

// trim forgets what all clients have of a body that is too long to keep. It reports false if that is nothing.
func (f *flight) trim() bool {
	least := f.base + int64(len(f.body))
	for rd := range f.readers {
		if !rd.cut {
			least = min(least, rd.at)
		}
	}
	if least <= f.base {
		return false
	}
	f.body = slices.Clone(f.body[least-f.base:]) // others may still be sending from the old one
	f.base = least
	return true
}

// wanted reports whether there are clients that are still to get the body. It is called with f.mu held.
func (f *flight) wanted() bool {
	for rd := range f.readers {
		if !rd.cut {
			return true
		}
	}
	return false
}

// drain waits until little is left of a body that is too long to keep which somebody still has to get. It is called with f.mu held.
func (f *flight) drain() {
	for f.tooLong && len(f.body) >= window && f.wanted() && f.out.Context().Err() == nil {
		if f.trim() {
			continue
		}
		start := time.Now()
		timer := time.AfterFunc(f.patience(), f.wake)
		f.cond.Wait()
		timer.Stop()
		f.blame(time.Since(start))
	}
}

// patience is how long nobody is to be cut off.
func (f *flight) patience() time.Duration {
	least := maxWait
	for rd := range f.readers {
		if !rd.cut {
			least = min(least, maxWait-rd.held)
		}
	}
	return max(least, time.Millisecond)
}

// blame adds the time that was waited to what slow clients have had, if others waited for them, and cuts off those that took too
// little in it.
func (f *flight) blame(waited time.Duration) {
	end := f.base + int64(len(f.body))
	slow := func(rd *reader) bool { return end-rd.at >= window }
	others := false
	for rd := range f.readers {
		others = others || !rd.cut && !slow(rd)
	}
	for rd := range f.readers {
		if rd.cut || !others || !slow(rd) {
			continue
		}
		if rd.held += waited; rd.held < maxWait {
			continue
		}
		rd.cut = rd.at-rd.from < pace
		rd.held, rd.from = 0, rd.at
	}
}
