package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// errSilent ends a request of which the upstream said nothing for too long.
var errSilent = errors.New("nothing came for as long as response_timeout")

// What makes an answer malformed before its head; net/http resets the stream for it.
var (
	errSwitching     = errors.New("101 in HTTP/2") // RFC 9113 section 8.6
	errInformational = errors.New("more than " + strconv.Itoa(maxInformational) + " informational responses")
)

// h2Stream is one attempt to have a request answered over HTTP/2. net/http has the frames; it gets copies of what it
// may still read when the handler has returned.
type h2Stream struct {
	conns   *h2Conns
	cc      *h2Conn
	ctx     context.Context //nolint:containedctx // of this attempt
	cancel  context.CancelCauseFunc
	body    *h2Body // nil without
	timeout time.Duration
	timer   *time.Timer
	waiting atomic.Int64 // unix nanoseconds since when the handler waits for the upstream; 0 while it does not

	started bool
	done    chan struct{} // RoundTrip has returned
	res     *http.Response
	err     error
	infos   chan h2Info
}

// h2Info is a 1xx response.
type h2Info struct {
	status int
	header http.Header
}

// connectH2 takes a stream of a connection to ep.
func (x *exchange) connectH2(ep *endpoint) *Error {
	x.result.Attempts++
	start := time.Now()
	cc, reused, err := ep.h2.acquire(x.ctx, x.p.connectTimeout)
	if x.result.Reused = reused; !reused {
		x.result.Connect = time.Since(start)
	}
	if err != nil {
		return err
	}
	if x.p.passive.status == nil && ep.suspect.Load() {
		x.p.recovered(ep) // see connect
	}
	s := &h2Stream{
		conns: ep.h2, cc: cc, timeout: x.p.responseTimeout,
		done: make(chan struct{}), infos: make(chan h2Info, maxInformational),
	}
	s.ctx, s.cancel = context.WithCancelCause(x.ctx)
	x.h2 = s
	return nil
}

// endpoint is the one that x has a connection to; nil without.
func (x *exchange) endpoint() *endpoint {
	switch {
	case x.h2 != nil:
		return x.h2.conns.ep
	case x.c != nil:
		return x.c.ep
	}
	return nil
}

// sendH2 starts the request.
func (x *exchange) sendH2() error {
	s := x.h2
	x.upgrade = false // the pool that it was for has been left for this one
	header, err := x.h2Header()
	if err != nil {
		return err
	}
	trace := &httptrace.ClientTrace{Got1xxResponse: s.informed}
	req := (&http.Request{
		Method: x.r.Method, URL: x.h2Target(s.conns), Host: x.sentHost(s.conns.ep), Header: header, Body: http.NoBody,
	}).WithContext(httptrace.WithClientTrace(s.ctx, trace))
	x.h2Body(req)
	x.sent = time.Now()
	s.waiting.Store(x.sent.UnixNano())
	s.timer = time.AfterFunc(s.timeout, s.watch)
	s.started = true
	go s.roundTrip(req)
	return nil
}

// roundTrip runs beside the handler, which passes on what comes before the answer meanwhile.
func (s *h2Stream) roundTrip(req *http.Request) {
	s.res, s.err = s.cc.RoundTrip(req)
	close(s.done)
}

// informed is called for each 1xx response by whoever reads the connection, and must not wait.
func (s *h2Stream) informed(status int, header textproto.MIMEHeader) error {
	if status == http.StatusSwitchingProtocols {
		return errSwitching
	}
	select {
	case s.infos <- h2Info{status, http.Header(header)}:
		return nil
	default:
		return errInformational
	}
}

// watch ends a request that the upstream leaves waiting.
func (s *h2Stream) watch() {
	if s.ctx.Err() != nil {
		return
	}
	left := s.timeout
	if w := s.waiting.Load(); w > 0 {
		since, blame := time.Unix(0, w), true
		if s.body != nil {
			var t time.Time
			if t, blame = s.body.silentSince(); t.After(since) {
				since = t
			}
		}
		if blame {
			left -= time.Since(since)
		}
	}
	if left <= 0 {
		s.cancel(errSilent)
		return
	}
	s.timer.Reset(left)
}

// h2Header is a copy of the request's fields.
func (x *exchange) h2Header() (http.Header, error) {
	n := 0
	for key, values := range x.out {
		if err := checkOut(key, values); err != nil {
			return nil, err
		}
		n += len(values)
	}
	all := make([]string, 0, n)
	h := make(http.Header, len(x.out)+3)
	for key, values := range x.out {
		from := len(all)
		all = append(all, values...)
		h[key] = all[from:len(all):len(all)]
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // none, rather than net/http's
	}
	if hasToken(x.r.Header["Te"], "trailers") {
		h["Te"] = []string{"trailers"} // RFC 9113 section 8.2.2: the one value that it may have; gRPC asks for it
	}
	if x.expect {
		h["Expect"] = []string{"100-continue"}
	}
	return h, nil
}

// h2Target is a URL that net/http writes as exactly the path and query that the gateway matched.
func (x *exchange) h2Target(h *h2Conns) *url.URL {
	u := &url.URL{Scheme: h.scheme, Host: h.ep.addr.host, Opaque: x.path, RawQuery: x.query, ForceQuery: x.mark}
	if strings.HasPrefix(x.path, "//") {
		u.Opaque = "//" + x.sentHost(h.ep) + x.path // net/url would take the path's first segment for a host
	}
	return u
}

// h2Body gives req its body.
func (x *exchange) h2Body(req *http.Request) {
	switch x.plan {
	case planNone:
		return
	case planSmall:
		x.h2.body, req.ContentLength = newH2Body(nil, x.small), int64(len(x.small))
	case planSized, planChunked:
		if x.r.ProtoMajor == 1 {
			_ = x.control().EnableFullDuplex() // see startUpload
		}
		b := newH2Body(x.r.Body, nil)
		if x.prefix {
			b.prefix = x.small
		}
		if x.upBuf == nil {
			x.upBuf = x.p.bigBuf()
		}
		b.buf = *x.upBuf
		req.ContentLength = -1
		if b.sized = x.plan == planSized; b.sized {
			b.remain, req.ContentLength = x.r.ContentLength, x.r.ContentLength
		}
		if x.expect {
			b.hold, b.wanted = make(chan struct{}), make(chan struct{})
		}
		x.h2.body = b
	}
	x.sending = x.h2.body
	req.Body = x.h2.body
}

// headH2 waits for the answer's head and passes on what comes before it.
func (x *exchange) headH2() error {
	s := x.h2
	var wanted chan struct{}
	if s.body != nil {
		wanted = s.body.wanted
	}
	for {
		select {
		case i := <-s.infos:
			x.informed(i)
		case <-wanted:
			wanted = nil
			clear(x.in)
			x.writeInformational(http.StatusContinue) // the upstream has said so, or nothing for a while
			close(s.body.hold)
		case <-s.done:
			for len(s.infos) > 0 {
				x.informed(<-s.infos)
			}
			if s.err != nil {
				return x.failedH2(ReasonNoResponse, s.err)
			}
			return x.headOfH2(s.res)
		}
	}
}

func (x *exchange) informed(i h2Info) {
	x.result.FirstByte = max(x.result.FirstByte, time.Since(x.sent), 1)
	if i.status == http.StatusContinue {
		return // what the client is to know of it, it is told when its body is wanted
	}
	x.in = i.header
	x.endToEnd(nil)
	x.writeInformational(i.status)
}

// headOfH2 checks the head of the final answer, and takes it over.
func (x *exchange) headOfH2(res *http.Response) error {
	if x.result.FirstByte == 0 {
		x.result.FirstByte = max(time.Since(x.sent), 1)
	}
	if len(res.Status) < 4 || res.Status[3] != ' ' || res.StatusCode < 200 || res.StatusCode > 999 {
		return malformed("status: want three digits from 200, got %.16q", res.Status)
	}
	x.in = res.Header
	for _, key := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		if _, ok := x.in[key]; ok {
			return malformed("field %s in HTTP/2", key) // RFC 9113 section 8.2.2
		}
	}
	x.hd = head{status: res.StatusCode, kind: bodyUntilEOF}
	if length := x.in["Content-Length"]; len(length) > 0 {
		n, err := parseLength(length)
		if err != nil {
			return err
		}
		x.hd.kind, x.hd.length = bodySized, n
	}
	if x.r.Method == http.MethodHead || x.hd.status == http.StatusNoContent || x.hd.status == http.StatusNotModified ||
		x.hd.kind != bodySized && res.ContentLength == 0 { // the head was all
		x.hd.kind = bodyNone
	}
	x.result.Status, x.result.GRPC = x.hd.status, grpcStatus(x.in)
	return nil
}

// relayH2 passes the final answer on.
func (x *exchange) relayH2() error {
	res := x.h2.res
	length := x.in["Content-Length"]
	var trailers []string
	for key := range res.Trailer {
		if validToken(key) && trailerAllowed(key) {
			trailers = append(trailers, key)
		}
	}
	x.endToEnd(nil)
	x.copyResponseHeader(length)
	h := x.w.Header()
	if len(trailers) > 0 && (x.hd.kind == bodyUntilEOF || x.r.ProtoMajor > 1 && x.hd.kind == bodySized) {
		h["Trailer"] = trailers
	}
	x.closeAfter(h)
	x.wrote = true
	x.w.WriteHeader(x.hd.status)
	if x.hd.kind != bodyNone {
		if err := x.copyH2(res.Body); err != nil {
			return err
		}
		x.trailerH2(res.Trailer)
		x.relayTrailer(trailers)
	}
	x.whole = true
	return nil
}

// copyH2 copies the body. What has come is flushed when no more is there yet.
func (x *exchange) copyH2(from io.Reader) error {
	x.grown = x.p.bigBuf()
	buf := *x.grown
	relayed, more := int64(0), x.hd.kind == bodyUntilEOF || eventStream(x.w.Header()["Content-Type"])
	if more {
		_ = x.control().Flush() // the head: nobody knows when the first byte comes
	}
	for {
		if relayed > 0 || more {
			x.bindUntil()
		}
		n, err := x.readH2(from, buf)
		if n > 0 {
			relayed += int64(n)
			if _, werr := x.w.Write(buf[:n]); werr != nil {
				return &Error{Reason: ReasonClientGone, Err: werr}
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // io.Reader's own
			if x.hd.kind == bodySized && relayed != x.hd.length {
				return x.failedH2(ReasonTruncated, errTruncated)
			}
			return nil
		case err != nil:
			return x.failedH2(ReasonTruncated, err)
		case n < len(buf) && (x.hd.kind != bodySized || relayed < x.hd.length):
			_ = x.control().Flush() // a client that left shows at the next write
		}
	}
}

func (x *exchange) readH2(from io.Reader, buf []byte) (int, error) {
	x.h2.waiting.Store(time.Now().UnixNano())
	n, err := from.Read(buf)
	x.h2.waiting.Store(0)
	return n, err
}

// trailerH2 takes over what of the trailer section may pass.
func (x *exchange) trailerH2(trailer http.Header) {
	for key, values := range trailer {
		if len(values) == 0 || !validToken(key) || !trailerAllowed(key) {
			continue
		}
		if x.body.trailer == nil {
			x.body.trailer = make(http.Header, len(trailer))
		}
		x.body.trailer[key] = values
	}
	if s := grpcStatus(x.body.trailer); s != "" {
		x.result.GRPC = s
	}
}

// failedH2 makes an error of a request or an answer that failed, by its true cause: all of them show as a stream that
// ended.
func (x *exchange) failedH2(reason Reason, err error) error {
	s := x.h2
	if s.body != nil {
		if e := s.body.failure(); e != nil {
			return e
		}
	}
	if x.ctx.Err() != nil {
		return x.gone()
	}
	if s.cc.conn.cut.Load() {
		return &Error{Reason: ReasonDeregistered, Err: err}
	}
	if x.until != nil && x.until.Err() != nil {
		x.result.Ended = true
		return &Error{Reason: ReasonEnded, Err: context.Cause(x.until)}
	}
	if errors.Is(context.Cause(s.ctx), errSilent) {
		if x.result.FirstByte == 0 {
			s.conns.forget(s.cc) // it may be the connection that is dead, and not the request
		}
		return &Error{Reason: ReasonTimeout, Err: errSilent}
	}
	x.died = endOfConnection(err)
	e := &Error{Reason: reason, Err: err}
	e.Reason, x.unseen = readH2Error(reason, err)
	return e
}

// streamError is how net/http has errors of streams be read (its StreamError.As).
type streamError struct {
	StreamID uint32
	Code     uint32 // RFC 9113 section 7
	Cause    error
}

// Error makes it an error, so that it may be asked for.
func (e streamError) Error() string { return "stream error" }

// Codes of RFC 9113 section 7.
const h2Refused = 0x7

// readH2Error says what became of a stream, and whether the upstream has said that it did nothing about the request
// (RFC 9113 sections 6.8 and 8.7). net/http has no values for some of its errors, only texts. Should one change, its
// reason becomes a general one, and the request is not sent again.
func readH2Error(reason Reason, err error) (_ Reason, unseen bool) {
	var stream streamError
	if errors.As(err, &stream) {
		cause := ""
		if stream.Cause != nil {
			cause = stream.Cause.Error()
		}
		switch cause {
		case "received from peer":
			return reason, stream.Code == h2Refused
		case "http2: response header list larger than advertised limit":
			return ReasonHeadTooLarge, false
		}
		return ReasonMalformed, false
	}
	switch text := err.Error(); {
	case text == "http2: Transport received Server's graceful shutdown GOAWAY", text == "http2: client conn not usable":
		return reason, true
	case text == "http2: request header list larger than peer's advertised limit":
		return ReasonWrite, false
	case strings.HasPrefix(text, "http2: server sent GOAWAY"), strings.HasPrefix(text, "http2: Transport received GOAWAY"),
		strings.HasPrefix(text, "http2: client conn"), text == "client connection lost", endOfConnection(err):
		return reason, false
	}
	return ReasonMalformed, false
}

// endOfConnection reports whether the upstream has just ended the connection.
func endOfConnection(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// mayRetryH2 is mayRetry over HTTP/2, where the upstream can also say that it has not looked at the request.
func (x *exchange) mayRetryH2() bool {
	if x.ctx.Err() != nil || (x.sending != nil && !x.sending.untouched()) {
		return false
	}
	return x.unseen || (x.died && x.result.Reused && x.result.FirstByte == 0 && x.idempotent())
}

// end breaks the answer off because Options.Until says so.
func (s *h2Stream) end() { s.cancel(context.Canceled) }

// endH2 leaves nothing of the stream behind. One that is not over is reset.
func (x *exchange) endH2() {
	s := x.h2
	if s == nil {
		return
	}
	x.h2 = nil
	x.p.leave(s.conns.ep)
	if !s.started {
		s.cc.Release()
		s.cancel(nil)
		return
	}
	s.timer.Stop()
	if s.res != nil && x.whole && (s.body == nil || !s.body.rest()) {
		s.res.Body.Close() // waits for the stream's end, which has come
	}
	s.cancel(nil)
	<-s.done
	if s.body != nil {
		s.body.end(x.unblockClient)
	}
	if s.res != nil {
		s.res.Body.Close()
	}
}
