package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// An exchange is everything the pipeline keeps for one request, in one allocation: the Event, the recorder, the body and the
// backing of the headers it sets. It is the request's context.
type exchange struct {
	context.Context // the server's
	gen             *Generation
	route           *compiledRoute
	event           Event
	rec             recorder
	body            body
	cookies         []*http.Cookie

	trace   trace
	http1   bool   // the client speaks HTTP/1
	http10  bool   // HTTP/1.0 at that: no 1xx, no upgrade
	closing bool   // the HTTP/1 connection ends with this answer
	local   bool   // the answer is a page of Deny
	vary    string // the headers that the route was found by

	id, answerID, traceparent, amznTrace [1]string // header values
}

// Value returns the Event for its key and asks the server's context for the rest.
func (x *exchange) Value(key any) any {
	if key == (eventKey{}) {
		return &x.event
	}
	return x.Context.Value(key)
}

// statusClientGone is nginx's status for a client that left before its answer. It is only ever recorded.
const statusClientGone = 499

// newExchange starts the record of r.
func newExchange(g *Generation, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{Context: r.Context(), gen: g}
	x.rec = recorder{w: w, x: x}
	e := &x.event
	e.exchange = x
	e.Start = time.Now()
	e.Generation = g.id
	e.Proto = r.Proto
	e.Method = methodLabel(r.Method)
	e.Scheme = "http"
	if r.TLS != nil {
		e.Scheme = "https"
		e.TLSVersion = tls.VersionName(r.TLS.Version)
	}
	e.UserAgent = r.UserAgent()
	if len(e.UserAgent) > 512 {
		e.UserAgent = e.UserAgent[:512]
	}
	e.Peer = peerAddr(r.RemoteAddr)
	e.ClientIP = e.Peer
	x.trace = newTrace(e.Start)
	e.ID = x.trace.id()
	e.TraceID = x.trace.traceID()
	x.http1 = r.ProtoMajor == 1
	x.http10 = x.http1 && r.ProtoMinor == 0
	return x
}

// methodLabel bounds the length of a method that was not checked yet.
func methodLabel(m string) string {
	if len(m) > 32 {
		return m[:32]
	}
	return m
}

// A PanicError is a panic of a guard or handler, as Event.Denied has it. Its text is for the log.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic value; the stack is separate.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// HTTPStatus returns 500.
func (e *PanicError) HTTPStatus() int { return http.StatusInternalServerError }

// finish is the deferred end of serve: it turns a panic into a 500 if no head was sent and into an aborted connection
// otherwise, completes the Event and hands it over. http.ErrAbortHandler passes.
func (x *exchange) finish(r *http.Request) {
	v := recover()
	e := &x.event
	abort := v != nil
	if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // net/http compares the panic value the same way
		e.deny(&PanicError{Value: v, Stack: debug.Stack()})
		if !x.rec.wrote && x.rec.conn == nil {
			Deny(&x.rec, r, e.Denied)
			abort = false
		}
	}
	switch {
	case abort:
		e.Aborted = true
		if x.rec.conn != nil {
			_ = x.rec.conn.Close() // net/http does not close what it no longer owns
		}
	case x.rec.conn != nil || x.rec.wrote:
	case r.Context().Err() != nil:
		e.Status = statusClientGone
	default:
		x.rec.WriteHeader(http.StatusOK) // what net/http would do, but with our headers
	}
	e.Duration = time.Since(e.Start)
	if x.gen.opts.Observe != nil {
		x.gen.opts.Observe(e)
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// deny keeps the first reason.
func (e *Event) deny(err error) {
	if e.Denied == nil {
		e.Denied = err
	}
}
