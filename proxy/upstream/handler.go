package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// sureWrite is what a socket with an empty buffer takes without waiting, in bytes.
const sureWrite = 4 << 10

// Options are what a route adds to a pool.
type Options struct {
	// Out has the last word on the request's fields, after everything that the client may not decide has been
	// removed or replaced. It may add, replace and delete, but not edit a slice of values in place, nor keep out. An
	// error means that nothing is sent; it goes to Deny as it is. Connection, Content-Length, Host and the like are
	// not its to set: that is refused with 500.
	Out func(in *http.Request, out http.Header) error
	// Response is called on the fields of every final answer of the upstream, a 101 included, before they are copied.
	// It must not keep h, and cannot change the framing.
	Response func(in *http.Request, h http.Header)
	// Until ends an answer early: a WebSocket with the close code 1008, any other that is not over by then by breaking
	// it off. It is called when an answer turns out to last, with the head sent; nil is a context that never ends.
	// release is called when the answer is over.
	Until func(in *http.Request) (ctx context.Context, release func())
	// Deny answers the client when the request was not forwarded or not answered. Required. The error is an *Error, or
	// what Out returned.
	Deny func(http.ResponseWriter, *http.Request, error)
	// Observe is called once per request when it is over, on the handler's goroutine.
	Observe func(ctx context.Context, r Result)
	// Sticky binds clients to endpoints; nil for none. Cookies are then those that the gateway took out of the request: what
	// is in the request's own fields goes to the upstream.
	Sticky  *Sticky
	Cookies func(*http.Request) []*http.Cookie
	// Subject is who is signed in, for pools that choose by identity; nil and "" are nobody.
	Subject func(*http.Request) string
	// ClientIP is who the request is from; default its RemoteAddr.
	ClientIP func(*http.Request) netip.Addr
	// Scheme is what the client used, "https" or "http", where a proxy in front ended its TLS; default the connection's.
	Scheme func(*http.Request) string
	// WebSocket relays Upgrade: websocket. Without it the field is taken out and the request is an ordinary one.
	WebSocket bool
	// Failover is the pool that has the requests while this one is down; nil for none.
	Failover *Pool
	// StripPrefix is a path prefix that is taken off on a segment boundary; the upstream is told in X-Forwarded-Prefix.
	StripPrefix string
	// RestorePrefix puts StripPrefix back into the answer's Location, Content-Location and Refresh, where they lead to the
	// client's host or to the one that the upstream was sent, and into the Path of its cookies. What begins with the prefix
	// already stays, and so do bodies, and cookies whose name says __Host-.
	RestorePrefix bool
	// Rewrite returns the path, escaped, and the query that are sent instead of the request's, and the host, or "" for the one
	// that would be sent. It must not change in. An error means that nothing is sent; it goes to Deny as it is. It goes
	// before StripPrefix.
	Rewrite func(in *http.Request) (path, query, host string, err error)
}

// Result is what one request had of its upstream.
type Result struct {
	Upstream  string        // the pool's name
	Address   string        // the endpoint of the last attempt; "" if there was none
	Connect   time.Duration // of the last attempt: dialling and TLS; 0 on a reused connection
	FirstByte time.Duration // from the start of sending to the first byte of an answer; 0 if there was none
	Protocol  string        // that the upstream was spoken to in: "HTTP/1.1" or "HTTP/2.0"
	Reused    bool          // the last attempt was on a connection that had been used before
	Attempts  int           // connections tried, dialled in vain or reused in vain included
	Status    int           // of the answer; 0 if there was none
	GRPC      string        // the status in an answer of gRPC, one to three digits; "" if there was none
	Upgraded  bool          // the connection became a WebSocket, which is over now
	Failover  bool          // Upstream is not the route's, but the one that it fails over to
	Ended     bool          // Options.Until has ended the answer; of a WebSocket, or the deregistration delay has
	Err       error         // why there was no answer, or no whole one
}

// handler is a pool with a route's options.
type handler struct {
	p    *Pool
	opts Options
}

// Handler forwards requests to the pool. It is cheap to make and safe for concurrent use. It panics if Deny is nil, or
// Cookies beside a Sticky: that is a mistake of the program, not of the configuration. An answer that breaks off after its head was sent
// panics with http.ErrAbortHandler, so that the client sees that it is not whole.
func (p *Pool) Handler(opts Options) http.Handler {
	if opts.Deny == nil || opts.Sticky != nil && opts.Cookies == nil {
		panic("upstream: Options.Deny is required, and Cookies with Sticky")
	}
	return &handler{p: p, opts: opts}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := h.p.exchange()
	x.begin(h, w, r)
	returned := false
	defer func() {
		x.finish()
		if returned {
			h.p.recycle(x)
		}
	}()
	err := x.serve()
	if err != nil {
		err = x.name(err)
		x.endConn()
	}
	x.result.Err = err
	if h.opts.Observe != nil {
		defer func(ctx context.Context, res Result) { h.opts.Observe(ctx, res) }(r.Context(), x.result)
	}
	switch {
	case err == nil:
	case x.endGRPC(err):
	case x.wrote:
		x.finish()
		panic(http.ErrAbortHandler)
	default:
		x.closeAfter(w.Header())
		h.opts.Deny(w, r, err)
	}
	returned = true
}

// exchange is one request and its answer. It is reused for later ones.
type exchange struct {
	h   *handler
	p   *Pool
	w   http.ResponseWriter
	rc  *http.ResponseController // see control
	r   *http.Request
	ctx context.Context //nolint:containedctx // an exchange lives as long as its request

	// The request as it is sent.
	path, query string
	host        string // as Options.Rewrite has it, or ""
	mark        bool   // '?' is sent
	upgrade     bool
	expect      bool // the client waits for 100 Continue, and so does the upstream know
	held        bool // the body is not sent before the upstream says 100 Continue, or nothing for a while
	prefix      bool // small is only the start of the body
	plan        bodyPlan
	small       []byte
	out         http.Header
	fwd         [7][1]string
	drop        []string
	wbuf        []byte
	up          *upload
	upBuf       *[]byte
	upEnded     bool

	endDeadline context.CancelFunc // of ctx, if it has a deadline of its own

	// Over HTTP/2.
	h2      *h2Stream // while the attempt lasts
	sending *h2Body   // the body, which may have been read in part when it is over
	unseen  bool      // the upstream says that it has not looked at the request

	// The connection and what comes from it.
	turn     rotation
	bound    uint64    // the endpoint that the client is bound to, by its hash; 0 if it is not
	at       *endpoint // that has the request
	c        *conn
	unwatch  func() bool
	until    context.Context //nolint:containedctx // what Options.Until gave, for as long as the answer lasts
	release  func()          // of it; not nil once it has been asked
	unbind   func() bool
	graced   bool // the read deadline is the first, short one
	streamed bool // the answer is relayed as it comes
	s        stream
	first    []byte  // the stream's own buffer
	grown    *[]byte // its bigger one, if it needed one
	hd       head
	in       http.Header
	body     body
	sent     time.Time
	whole    bool // the answer was read to its end
	died     bool // the upstream ended the connection

	wrote   bool // the head has gone to the client
	dirty   bool // something has, since the last flush
	result  Result
	pauseFn func() // x.pause, bound once
	growFn  func() // x.grow, bound once
}

func (p *Pool) exchange() *exchange {
	if x, ok := p.exchanges.Get().(*exchange); ok {
		return x
	}
	x := &exchange{
		p: p, out: make(http.Header), in: make(http.Header),
		first: make([]byte, smallBuffer), wbuf: make([]byte, 0, 2<<10),
	}
	x.pauseFn, x.growFn = x.pause, x.grow
	return x
}

func (x *exchange) begin(h *handler, w http.ResponseWriter, r *http.Request) {
	x.h, x.w, x.r, x.ctx = h, w, r, r.Context()
	x.s = stream{src: x, buf: x.first}
	x.result.Upstream = x.p.name
}

// control is the response's controller, made when it is needed.
func (x *exchange) control() *http.ResponseController {
	if x.rc == nil {
		x.rc = http.NewResponseController(x.w)
	}
	return x.rc
}

// recycle takes everything of the request out of x and keeps its memory.
func (p *Pool) recycle(x *exchange) {
	clear(x.out)
	clear(x.in)
	clear(x.drop)
	if cap(x.wbuf) > maxHead {
		x.wbuf = nil
	}
	*x = exchange{
		p: p, out: x.out, in: x.in, first: x.first, wbuf: x.wbuf[:0], small: x.small[:0], drop: x.drop[:0],
		pauseFn: x.pauseFn, growFn: x.growFn,
	}
	p.exchanges.Put(x)
}

// finish leaves nothing behind: no goroutine, no connection. It may be called again.
func (x *exchange) finish() {
	x.endConn()
	if x.endDeadline != nil {
		x.endDeadline()
		x.endDeadline = nil
	}
	if x.grown != nil {
		x.p.big.Put(x.grown)
		x.grown = nil
	}
	if x.upBuf != nil {
		x.p.big.Put(x.upBuf)
		x.upBuf = nil
	}
}

func (p *Pool) bigBuf() *[]byte {
	if b, ok := p.big.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, bigBuffer)
	return &b
}

// grow gives the stream a bigger buffer.
func (x *exchange) grow() {
	if x.grown != nil {
		return
	}
	x.grown = x.p.bigBuf()
	x.s.w = copy(*x.grown, x.s.buffered())
	x.s.r, x.s.buf, x.s.full = 0, *x.grown, false
}

// name puts the pool and the endpoint into an error of ours.
func (x *exchange) name(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Upstream == "" {
		e.Upstream = x.p.name
		if e.Address == "" {
			e.Address = x.result.Address
		}
	}
	return err
}

// serve forwards the request and relays the answer.
func (x *exchange) serve() error {
	if x.p.closed.Load() {
		return &Error{Reason: ReasonClosed}
	}
	if lastRecipient(x.r) {
		x.w.Header().Set("Content-Length", "0")
		x.w.WriteHeader(http.StatusOK)
		return nil
	}
	if err := x.prepare(); err != nil {
		return err
	}
	if x.ctx.Err() != nil {
		return x.gone()
	}
	err := x.roundTrip()
	x.turn.endTrial()
	if err != nil {
		return err
	}
	switch {
	case x.h2 != nil:
		return x.relayH2()
	case x.hd.kind == bodyTunnelled:
		return x.tunnel()
	}
	return x.relay()
}

// roundTrip sends the request and reads the answer's head, over as many connections as it takes and may take.
func (x *exchange) roundTrip() error {
	if s := x.h.opts.Sticky; s != nil {
		x.bound, _ = s.bound(x.r, x.h.opts.Cookies(x.r))
	}
	ep, refused := x.admit()
	if refused != nil {
		return refused
	}
	reuse := true
	for {
		x.died, x.unseen = false, false // of this attempt
		if err := x.connect(ep, reuse); err != nil {
			x.p.leave(ep)
			x.p.broke(ep, err)
			if x.ctx.Err() != nil {
				return x.gone()
			}
			if ep = x.another(); ep == nil {
				return err // nothing was sent
			}
			continue
		}
		err := x.ask()
		if err == nil {
			x.p.answered(ep, x.hd.status)
			return nil
		}
		if !x.mayRetry() || !x.p.mayRepeat(x.result.Attempts) {
			x.blame(ep, err)
			return err
		}
		x.endConn()
		if !x.p.enter(ep) {
			return err
		}
		reuse = false // the other idle connections may be as old
	}
}

// blame notes an error that is the endpoint's fault. It is not, where a connection had been idle too long.
func (x *exchange) blame(ep *endpoint, err error) {
	var e *Error
	if errors.As(err, &e) && !(x.died && x.result.Reused && x.result.FirstByte == 0) {
		x.p.broke(ep, e)
	}
}

// ask sends the request and reads the answer's head, over what connect got.
func (x *exchange) ask() error {
	if x.h2 != nil {
		if err := x.sendH2(); err != nil {
			return err
		}
		return x.headH2()
	}
	if err := x.send(); err != nil {
		return err
	}
	return x.readHead()
}

// connect takes an idle connection, or dials.
func (x *exchange) connect(ep *endpoint, reuse bool) *Error {
	x.result.Address, x.result.Connect, x.result.Reused, x.result.Protocol = ep.name, 0, false, "HTTP/1.1"
	if ep.h2 != nil {
		x.result.Protocol = "HTTP/2.0"
		return x.connectH2(ep)
	}
	now := x.p.now()
	for reuse {
		c := ep.get(now, x.p.idleTimeout)
		if c == nil {
			break
		}
		c.sock.SetReadDeadline(time.Now().Add(grace))
		quiet, late := c.quiet()
		if late { // this goroutine has not run for so long
			c.sock.SetReadDeadline(time.Time{})
			quiet, _ = c.quiet()
		}
		if quiet {
			x.result.Attempts++
			x.c, x.result.Reused, x.graced = c, true, !late
			c.reused = true
			return nil
		}
		ep.discard(c)
	}
	x.result.Attempts++
	start := time.Now()
	c, err := ep.dial(x.ctx, x.p.connectTimeout)
	x.result.Connect = time.Since(start)
	if err != nil {
		return err
	}
	if x.p.passive.status == nil && ep.suspect.Load() {
		x.p.recovered(ep) // connecting is all that it is judged by
	}
	x.c, x.graced = c, false
	return nil
}

// send writes the head, with a body that is small, and starts the upload of one that is not.
func (x *exchange) send() error {
	if err := x.appendHead(x.c.ep); err != nil {
		return err
	}
	if x.plan == planSmall {
		x.wbuf = append(x.wbuf, x.small...)
	}
	x.sent = time.Now()
	if len(x.wbuf) > sureWrite {
		x.watch()
		x.c.writeBy = true
		x.c.sock.SetWriteDeadline(x.sent.Add(x.p.responseTimeout))
	}
	if _, err := x.c.rw.Write(x.wbuf); err != nil {
		return x.failed(ReasonWrite, err)
	}
	if x.plan == planSized || x.plan == planChunked {
		x.watch()
		if x.held = x.expect; !x.held {
			x.startUpload()
		}
	}
	return nil
}

// mayRetry reports whether the request may be sent again on a new connection: it was on a reused one, which ended
// before it brought a byte, as one does that the upstream closed while the request was on its way; and sending it
// twice is as good as once (RFC 9110 section 9.2.2).
func (x *exchange) mayRetry() bool {
	if x.h2 != nil {
		return x.mayRetryH2()
	}
	if x.c == nil || !x.c.reused || x.result.FirstByte > 0 || x.up != nil || x.ctx.Err() != nil || !x.died {
		return false
	}
	return x.idempotent()
}

func (x *exchange) idempotent() bool {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// failed makes an error of a read or write that failed, by its true cause: a client that left and a body that broke
// off both show as a closed connection. It notes whether the upstream just ended the connection.
func (x *exchange) failed(reason Reason, err error) error {
	if x.up != nil {
		if e := x.up.failed.Load(); e != nil {
			return e
		}
	}
	if x.ctx.Err() != nil {
		return x.gone()
	}
	if x.c != nil && x.c.cut.Load() {
		return &Error{Reason: ReasonDeregistered, Err: err}
	}
	if x.until != nil && x.until.Err() != nil {
		x.result.Ended = true
		return &Error{Reason: ReasonEnded, Err: context.Cause(x.until)}
	}
	if isTimeout(err) {
		return &Error{Reason: ReasonTimeout, Err: err}
	}
	x.died = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
	return &Error{Reason: reason, Err: err}
}

// gone is the error of a request whose context has ended.
func (x *exchange) gone() *Error {
	err := context.Cause(x.ctx)
	e := &Error{Reason: ReasonClientGone, Err: err}
	switch {
	case errors.Is(err, errDeadline):
		e.Reason = ReasonDeadline
	case errors.Is(err, context.DeadlineExceeded):
		e.Reason = ReasonTimeout
	}
	return e
}

// watch ends the connection when the client leaves, from now on.
func (x *exchange) watch() {
	if x.unwatch == nil {
		x.unwatch = context.AfterFunc(x.ctx, x.c.abort)
	}
}

// bindUntil asks Options.Until, once, and lets it end the connection.
func (x *exchange) bindUntil() {
	if x.h.opts.Until == nil || x.release != nil || !x.wrote {
		return
	}
	if x.until, x.release = x.h.opts.Until(x.r); x.until == nil {
		return
	}
	if x.h2 != nil {
		x.unbind = context.AfterFunc(x.until, x.h2.end)
		return
	}
	x.unbind = context.AfterFunc(x.until, x.c.abort)
}

// unbindUntil undoes that, and reports whether the connection has been ended.
func (x *exchange) unbindUntil() (ended bool) {
	if x.unbind != nil {
		ended = !x.unbind()
		x.unbind = nil
	}
	if x.release != nil {
		x.release()
		x.release = func() {}
	}
	return ended
}

// endConn gives the connection back if it is fit for another request, and ends it otherwise. The upload is over after.
func (x *exchange) endConn() {
	x.endUpload()
	left := x.unbindUntil()
	x.endH2()
	c := x.c
	if c == nil {
		return
	}
	x.c = nil
	x.p.leave(c.ep)
	c.sock.waiting = nil
	left = x.unwatch != nil && !x.unwatch() || left
	x.unwatch = nil
	fit := x.whole && x.hd.keep && x.s.r == x.s.w && !x.held && (x.up == nil || x.up.whole)
	if left || !fit {
		c.ep.discard(c)
		return
	}
	if c.writeBy {
		c.sock.SetWriteDeadline(time.Time{})
		c.writeBy = false
	}
	c.ep.put(c, x.p.now(), x.p.idleTimeout, x.p.maxIdle)
}
