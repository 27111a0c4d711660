package waf

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/types"
)

// Wrap inspects a request's head and body before next sees it. In block mode a request that a rule
// refuses, and one whose body is too long, goes to Options.Deny and never to next; in count mode it goes
// on. In both, a request whose body cannot be read is refused (see Failure). Next reads the body byte for byte as it came. Answers
// are not touched, and next gets w itself, unless Config.Groups has the group that reads them run (see
// answers). An engine that is off returns next.
//
// The URI that is inspected is r.RequestURI: whoever changes r.URL before has to change both.
func (e *Engine) Wrap(next http.Handler) http.Handler {
	if e.mode == ModeOff {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := e.check(r)
		defer v.body.release()
		if e.opts.OnResult != nil && v.inspected {
			e.opts.OnResult(r.Context(), v.result)
		}
		switch {
		case v.err != nil:
			e.opts.Deny(w, r, v.err)
		case v.drop:
			// The rule wants the connection gone without an answer.
			panic(http.ErrAbortHandler)
		case v.location != "":
			w.Header().Set("Location", v.location)
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(v.result.Status)
		case e.answers != nil:
			e.answers.serve(w, v.request(r), next)
		default:
			next.ServeHTTP(w, v.request(r))
		}
	})
}

// A verdict is what check decided: refuse with err, drop, redirect to location, or pass.
type verdict struct {
	result    Result
	inspected bool // result is about this request, even if it ended early
	err       error
	drop      bool
	location  string
	body      *body // nil if the request's own is to be used
	begun     bool  // it has been read from
	work      int   // units of the meter
	turn      turn
}

// request is r with the body that was read put back in front of what was not. Its expectation is met then.
func (v *verdict) request(r *http.Request) *http.Request {
	if v.body == nil {
		return r
	}
	r2 := *r
	r2.Body = v.body
	if _, ok := r.Header["Expect"]; ok && v.begun {
		// The client has been told to go on (RFC 9110 section 10.1.1), so that nobody has to wait for the upstream's word.
		r2.Header = r.Header.Clone()
		r2.Header.Del("Expect")
	}
	return &r2
}

// check inspects r and decides. It writes nothing. It consumes r.Body as far as it is inspected.
func (e *Engine) check(r *http.Request) (v verdict) {
	v.result.Mode = e.mode
	defer func() {
		// A fault in the engine must neither let the request pass nor end the process.
		if p := recover(); p != nil {
			v.location, v.drop = "", false
			v.turn.end(0)
			v.err = &Failure{Reason: "engine failed", Status: http.StatusInternalServerError, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	var limited *Limited
	if v.turn, limited = e.opts.Budget.enter(e.clientIP(r)); limited != nil {
		v.inspected = true
		e.over(limited, &v)
		return v
	}
	if err := v.turn.begin(r.Context()); err != nil {
		v.turn.end(0)
		v.inspected = true
		e.cannot(readFailure(r.Context(), err), &v)
		return v
	}
	opts := experimental.Options{Context: r.Context()}
	if e.opts.RequestID != nil {
		opts.ID = e.opts.RequestID(r)
	}
	tx, ok := e.waf.NewTransactionWithOptions(opts).(transaction)
	if !ok {
		v.turn.end(0)
		v.err = &Failure{Reason: "engine has no variables", Status: http.StatusInternalServerError}
		return v
	}
	in := e.begin(tx)
	defer e.root.requests.Delete(tx) // also after a panic
	e.run(tx, in, r, &v)
	e.end(in, &v)
	v.turn.end(min(v.work, e.bounds.work))
	v.inspected = true
	v.result.collect(tx, tx, e)
	// Close gives the transaction back to Coraza's pool. After a panic it is not reached: what is in
	// disorder is left to the collector.
	if err := tx.Close(); err != nil && v.err == nil {
		v.err = &Failure{Reason: "engine failed", Status: http.StatusInternalServerError, Err: err}
	}
	return v
}

// run takes tx through the phases of a request.
func (e *Engine) run(tx transaction, in *inspection, r *http.Request, v *verdict) {
	media := mediaTypeOf(r.Header)
	feedHead(tx, r, e.clientIP(r))
	if _, listed := readings[media]; !listed {
		if _, allowed := media.read(); allowed {
			tx.RemoveRuleByID(typeRule)
		}
	}
	for _, id := range typeRules(r.Header) {
		tx.RemoveRuleByID(id)
	}
	if p := media.processor(); p != "" {
		setSingle(tx.Variables().RequestBodyProcessor(), p)
	}
	hasBody := r.Body != nil && r.Body != http.NoBody && !e.headers
	if in.quiet(hasBody) {
		return
	}
	if it := tx.ProcessRequestHeaders(); it != nil {
		e.interrupt(it, v)
		return
	}
	if in.exhausted() {
		return
	}
	if hasBody {
		if err := e.inspectBody(tx, in, r, media, v); err != nil {
			e.cannot(err, v)
			return
		}
	}
	if in.exhausted() {
		return
	}
	it, err := tx.ProcessRequestBody()
	switch {
	case err != nil:
		v.err = &Failure{Reason: "engine failed", Status: http.StatusInternalServerError, Err: err}
	case it != nil:
		e.interrupt(it, v)
	default:
		noteCounted(tx, v)
	}
}

// interrupt turns a rule's disruptive action into a verdict.
func (e *Engine) interrupt(it *types.Interruption, v *verdict) {
	v.result.Blocked = true
	v.result.Cause = it.RuleID
	v.result.Status = statusOf(it)
	switch it.Action {
	case "drop":
		v.drop = true
	case "redirect":
		v.location = it.Data
	}
	if !v.drop && v.location == "" {
		v.err = &Blocked{RuleID: it.RuleID, Status: v.result.Status}
	}
}

// statusOf is the status of an interruption. A status that is no refusal is not believed.
func statusOf(it *types.Interruption) int {
	switch {
	case it.Action == "redirect" && it.Data != "":
		if it.Status >= 300 && it.Status < 400 {
			return it.Status
		}
		return http.StatusFound
	case it.Status >= 400 && it.Status < 600:
		return it.Status
	default:
		return http.StatusForbidden
	}
}

// noteCounted records what block mode would have done.
func noteCounted(tx transaction, v *verdict) {
	counted, ok := tx.(interface {
		DetectionOnlyInterruption() *types.Interruption
	})
	if !ok {
		return
	}
	if it := counted.DetectionOnlyInterruption(); it != nil {
		v.result.Cause = it.RuleID
		v.result.Status = statusOf(it)
	}
}

// feedHead gives tx everything about r but its body.
func feedHead(tx transaction, r *http.Request, client netip.Addr) {
	host, port := "", 0
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		port = int(ap.Port())
	}
	if client.IsValid() {
		// Without zone: @ipMatch reads addresses, not interfaces.
		host = client.Unmap().WithZone("").String()
	}
	tx.ProcessConnection(host, port, "", 0)
	uri := r.RequestURI
	if uri == "" {
		uri = r.URL.RequestURI()
	}
	tx.ProcessURI(uri, r.Method, r.Proto)
	for name, values := range r.Header {
		for _, value := range values {
			tx.AddRequestHeader(name, value)
		}
	}
	if r.Host != "" {
		tx.AddRequestHeader("Host", r.Host)
		tx.SetServerName(hostname(r.Host))
	} else if r.ProtoMajor == 1 && r.ProtoMinor == 1 {
		tx.AddRequestHeader("Host", "") // net/http wants the field there, so it was, and empty
	}
	// net/http takes these out of the header; the rules about framing look for them.
	for _, te := range r.TransferEncoding {
		tx.AddRequestHeader("Transfer-Encoding", te)
	}
	if r.ContentLength > 0 && r.Header.Get("Content-Length") == "" {
		tx.AddRequestHeader("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
}

// hostname is a Host field without its port.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

func (e *Engine) clientIP(r *http.Request) netip.Addr {
	if e.opts.ClientIP != nil {
		return e.opts.ClientIP(r)
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}

// setSingle sets one of the engine's variables that holds a single value.
func setSingle(variable any, value string) {
	s, ok := variable.(interface{ Set(string) })
	if !ok {
		panic(errors.New("waf: a variable of the engine cannot be set")) // check recovers
	}
	s.Set(value)
}
