package waf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience is how long the start of an answer is held although the application has flushed it. An application
// writes most pages in several pieces, and a front door that sent the first of them at once could not refuse the
// page any more.
const patience = 500 * time.Millisecond

// answers inspects answers. The start of a text, up to the limit, is held back until it has been inspected; what
// comes after it streams. A leak in what was held goes to Options.Deny instead of to the client.
//
// Applications that answer bit by bit still do: what they flush is inspected and sent on after patience, again and
// again until the limit is reached. If a leak shows only then, the answer is broken off.
//
// In count mode nothing is held: answers are read as they pass.
type answers struct {
	engine  *Engine // of the rules that read answers
	limit   int
	heads   bool // some rule reads a head alone
	buffers sync.Pool
	gzips   sync.Pool
}

// loadAnswers compiles the rules that read answers.
func (e *Engine) loadAnswers(cfg Config, how variant) (*answers, error) {
	rules, err := loadAnswerRules(cfg, how.extra)
	if err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	a := &answers{engine: &Engine{mode: e.mode, counted: rules.counted, opts: e.opts, close: func() error { return nil }}}
	a.limit, _ = parseResponseLimit(cfg.ResponseLimit) // Validate has seen it
	a.heads = slices.ContainsFunc(rules.loaded, func(r crsRule) bool {
		return strings.Contains(r.text, "phase:3") && strings.Contains(r.text, "severity:")
	})
	a.buffers.New = func() any { return new([]byte) }
	if err := a.engine.compile(rules.source.lists, rules.text, how); err != nil {
		return nil, err
	}
	return a, nil
}

// serve lets next answer r and inspects what it says.
func (a *answers) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &answer{a: a, w: w, r: askReadable(r.WithContext(ctx)), cancel: cancel, own: w.Header().Clone()}
	if x.own == nil {
		x.own = http.Header{}
	}
	defer x.end()
	func() {
		defer func() {
			if x.refused() == nil {
				return // a panic goes on as it is
			}
			// The handler's writes fail once its answer is refused, and it may give up in this way.
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // net/http compares the same way
				panic(p)
			}
		}()
		next.ServeHTTP(x, x.r)
	}()
	err := x.finish()
	x.report()
	if err == nil {
		return
	}
	a.engine.opts.Deny(w, r, err)
	if x.headSent {
		panic(http.ErrAbortHandler)
	}
}

// An answer is the ResponseWriter of a handler whose answer is inspected. The lock is for the timer: what it does
// happens on its own goroutine, between calls of the handler.
type answer struct {
	a *answers
	w http.ResponseWriter
	r *http.Request // as the handler has it

	cancel context.CancelCauseFunc // of its context
	own    http.Header             // the handler's; the server's stays as it was for as long as the answer can still be refused

	mu       sync.Mutex
	wrote    bool // the handler has given the final head
	status   int
	head     http.Header // as it was then
	passing  bool        // nothing is inspected any more
	counting bool        // what is read has been sent already
	headSent bool
	buf      *[]byte // the start of the body
	sent     int     // how much of it
	flush    bool    // the handler wants to see sent what it has written
	timer    *time.Timer
	ended    bool
	err      error // why the answer is refused

	inspected bool
	reported  bool
	result    Result
}

// Header returns the handler's headers.
func (x *answer) Header() http.Header { return x.own }

// Unwrap gives http.ResponseController the writer below, for deadlines and full duplex.
func (x *answer) Unwrap() http.ResponseWriter { return x.w }

// WriteHeader takes the final head, or passes a 1xx one on.
func (x *answer) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeHeader(status)
}

func (x *answer) writeHeader(status int) {
	switch {
	case x.wrote:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		h := x.w.Header()
		kept := maps.Clone(h)
		replace(h, x.own)
		x.w.WriteHeader(status)
		replace(h, kept)
	default:
		x.takeHead(status)
	}
}

// takeHead decides what is to be inspected of the answer.
func (x *answer) takeHead(status int) {
	x.wrote, x.status, x.head = true, status, x.own.Clone()
	switch {
	case status < 200 || status > 599:
		x.passing = true // an upgrade, or what net/http will panic about
		x.sendHead()
	case hasText(x.r, status, x.head):
		x.buf = x.a.buffers.Get().(*[]byte)
		if x.counting = x.a.engine.mode == ModeCount; x.counting {
			x.sendHead()
		}
	case x.a.heads:
		x.decide(true)
	default:
		x.passing = true
		x.sendHead()
	}
}

// sendHead sends the head.
func (x *answer) sendHead() {
	if x.headSent {
		return
	}
	x.headSent = true
	replace(x.w.Header(), x.head)
	x.w.WriteHeader(x.status)
}

// replace makes h say what with says.
func replace(h, with http.Header) {
	clear(h)
	maps.Copy(h, with)
}

// Write takes a part of the body. It fails once the answer is refused.
func (x *answer) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.wrote {
		x.takeHead(http.StatusOK)
	}
	taken := 0                          // is sent by decide
	held := x.buf != nil && !x.counting // even the write of nothing would have the server send a head
	if x.buf != nil && x.err == nil {
		n := min(len(p), x.a.limit-len(*x.buf))
		*x.buf = append(*x.buf, p[:n]...)
		if !x.counting {
			taken = n
		}
		if len(*x.buf) == x.a.limit {
			x.decide(true)
		}
	}
	if x.err != nil {
		return 0, x.err
	}
	if held && taken == len(p) {
		return taken, nil
	}
	n, err := x.w.Write(p[taken:])
	return taken + n, err //nolint:wrapcheck // the server's own
}

// ReadFrom lets the server use its own way of copying, once nothing is inspected any more.
func (x *answer) ReadFrom(src io.Reader) (int64, error) {
	const step = 32 << 10
	var total int64
	for !x.isPassing() {
		n, err := io.CopyN(struct{ io.Writer }{x}, src, step)
		total += n
		if err == io.EOF { //nolint:errorlint // CopyN returns it bare
			return total, nil
		}
		if err != nil {
			return total, err //nolint:wrapcheck // as io.Copy gives it
		}
	}
	n, err := io.Copy(x.w, src)
	return total + n, err //nolint:wrapcheck // as io.Copy gives it
}

func (x *answer) isPassing() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.passing
}

// Flush sends what has been written, or does so later if it is held.
func (x *answer) Flush() { _ = x.FlushError() }

// FlushError is Flush for http.ResponseController.
func (x *answer) FlushError() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.wrote {
		x.takeHead(http.StatusOK)
	}
	if x.err != nil {
		return x.err
	}
	if x.passing || x.counting {
		return http.NewResponseController(x.w).Flush() //nolint:wrapcheck // the server's own
	}
	if !x.flush && (!x.headSent || x.sent < len(*x.buf)) {
		x.flush = true
		x.timer = time.AfterFunc(patience, x.late)
	}
	return nil
}

// late sends on what has been held for long enough, if it is clean. What is not is left for the handler's own
// goroutine to refuse, which is to end: it may be waiting for more to say.
func (x *answer) late() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || x.passing || x.err != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			x.err = engineFailed(fmt.Errorf("panic: %v", p))
		}
		if x.err != nil {
			x.cancel(x.err)
		}
	}()
	x.decide(false)
}

// decide inspects what is held and sends it on or refuses the answer. If it is the last time, what follows passes.
func (x *answer) decide(last bool) {
	body := []byte(nil)
	if x.buf != nil {
		body = *x.buf
	}
	result, err := x.a.inspect(x.r, x.status, x.head, body)
	x.inspected, x.result = true, result
	if err != nil {
		x.err = err
		return
	}
	if !x.counting {
		x.sendHead()
		if x.sent < len(body) {
			_, _ = x.w.Write(body[x.sent:]) // a client that left shows at the next write
			x.sent = len(body)
		}
	}
	if last {
		x.passing, x.counting = true, false
		x.release()
	}
	if x.flush && !x.ended {
		_ = http.NewResponseController(x.w).Flush()
	}
	x.flush = false
}

// release gives the buffer back.
func (x *answer) release() {
	if x.buf != nil {
		x.a.giveBack(x.buf)
		x.buf = nil
	}
}

// giveBack keeps a buffer for another answer, unless it has become very large.
func (a *answers) giveBack(buf *[]byte) {
	if cap(*buf) <= 2*defaultResponseLimit {
		*buf = (*buf)[:0]
		a.buffers.Put(buf)
	}
}

// Hijack hands the connection over. Nothing that is held is sent.
func (x *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.wrote && !x.passing {
		return nil, nil, errors.New("waf: hijack of an answer that is being inspected")
	}
	x.wrote, x.passing = true, true
	return http.NewResponseController(x.w).Hijack() //nolint:wrapcheck // the server's own
}

func (x *answer) refused() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// finish ends an answer whose handler has returned. The error is why it is refused.
func (x *answer) finish() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.wrote {
		replace(x.w.Header(), x.own) // the server answers 200 with nothing
		return nil
	}
	if x.err == nil && !x.passing {
		x.decide(true)
	}
	if x.err == nil {
		x.trailers()
	}
	return x.err
}

// trailers hands on the fields that were set after the head was sent.
func (x *answer) trailers() {
	announced := x.head["Trailer"]
	h := x.w.Header()
	for key, values := range x.own {
		if strings.HasPrefix(key, http.TrailerPrefix) {
			h[key] = values
		}
	}
	for _, list := range announced {
		for name := range strings.SplitSeq(list, ",") {
			key := textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			if values, ok := x.own[key]; ok {
				h[key] = values
			}
		}
	}
}

// end leaves nothing behind, however the handler ended.
func (x *answer) end() {
	x.mu.Lock()
	x.ended = true
	if x.timer != nil {
		x.timer.Stop()
	}
	x.release()
	x.mu.Unlock()
	x.report()
}

// report says what was found, once.
func (x *answer) report() {
	if x.inspected && !x.reported && x.a.engine.opts.OnResult != nil {
		x.reported = true
		x.a.engine.opts.OnResult(x.r.Context(), x.result)
	}
}

// How much work an answer may be, in units of rx.Meter: what a request may be by default, and workPerByte for each byte
// of it, since a limit that can be set is the only one that an application's own pages should meet.
const (
	answerWork  = int(defaultWorkTime)
	workPerByte = 200
)

// inspect inspects the start of an answer. The error is a refusal.
func (a *answers) inspect(r *http.Request, status int, h http.Header, body []byte) (result Result, err error) {
	result.Mode, result.Answer = a.engine.mode, true
	defer func() {
		// A fault in the engine must neither let the answer pass nor end the process.
		if p := recover(); p != nil {
			err = engineFailed(fmt.Errorf("panic: %v", p))
		}
	}()
	text, done, err := a.text(h["Content-Encoding"], body)
	defer done()
	if err != nil {
		f := &Failure{Reason: "the answer cannot be read", Status: http.StatusBadGateway, Err: err}
		if a.engine.mode == ModeCount {
			result.Status = f.Status
			return result, nil
		}
		return result, f
	}
	v := verdict{result: result}
	a.run(r, status, h, text, &v)
	return v.result, v.err
}

func engineFailed(err error) *Failure {
	return &Failure{Reason: "engine failed", Status: http.StatusInternalServerError, Err: err}
}

// run takes a transaction of its own through the rules that read answers.
func (a *answers) run(r *http.Request, status int, h http.Header, text []byte, v *verdict) {
	turn, limited := a.engine.opts.Budget.enter(a.engine.clientIP(r))
	if limited != nil {
		a.engine.over(limited, v)
		return
	}
	work := answerWork + workPerByte*len(text)
	spent := 0
	defer func() { turn.end(spent) }()
	if err := turn.begin(r.Context()); err != nil {
		a.engine.cannot(readFailure(r.Context(), err), v)
		return
	}
	tx, in, err := a.begin(r, work)
	if err != nil {
		v.err = err
		return
	}
	defer a.engine.root.requests.Delete(tx) // also after a panic
	feedAnswer(tx, r, status, h, text)
	if !in.quiet(false) {
		it := tx.ProcessRequestHeaders()
		if it == nil {
			it, err = tx.ProcessRequestBody()
		}
		switch {
		case err != nil:
			v.err = engineFailed(err)
		case it != nil:
			v.result.Blocked = true
			v.result.Cause, v.result.Status = it.RuleID, refusalOf(statusOf(it))
			v.err = &Blocked{RuleID: it.RuleID, Status: v.result.Status}
		default:
			noteCounted(tx, v)
		}
	}
	if in != nil {
		in.judgement.End()
		spent = min(work-in.meter.Left(), work)
		if in.meter.Exhausted() {
			v.err = &Failure{Reason: "the answer takes more work to inspect than is allowed", Status: http.StatusBadGateway}
		}
	}
	v.result.collect(tx, tx, a.engine)
	if err := tx.Close(); err != nil && v.err == nil {
		v.err = engineFailed(err)
	}
}

// refusalOf is the status of a refusal. A rule about answers cannot redirect.
func refusalOf(status int) int {
	if status < 400 {
		return http.StatusForbidden
	}
	return status
}
