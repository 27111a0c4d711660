package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

// A BodyError is a request body that could not be read to its end for a reason that is the client's: too large (413), too
// slow (408), with too many trailers (431), cut off by the client leaving (499), or malformed (400). Its cause is for the log.
type BodyError struct {
	Status int
	Err    error
}

// Error returns what failed and why.
func (e *BodyError) Error() string { return fmt.Sprintf("request body: %v", e.Err) }

// Unwrap returns the cause; for 413 it is an *http.MaxBytesError.
func (e *BodyError) Unwrap() error { return e.Err }

// HTTPStatus returns the status that answers the error.
func (e *BodyError) HTTPStatus() int { return e.Status }

// CloseConnection reports true: what follows an unread body is not a request.
func (e *BodyError) CloseConnection() bool { return true }

// Public returns the sentence for the client.
func (e *BodyError) Public() string {
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		return "What was sent is larger than is accepted here."
	case http.StatusRequestTimeout:
		return "The request took too long to arrive."
	}
	return sayRequest
}

var (
	errBodyShort   = errors.New("shorter than Content-Length")
	errBodyLong    = errors.New("longer than Content-Length")
	errTrailerMany = errors.New("more than 256 trailer fields")
)

// A body is the request body as guards and upstream read it. It counts, holds the client to its Content-Length (HTTP/3 servers
// do not) and to the route's limit, turns the client's mistakes into a *BodyError, and cleans trailers when they have come.
// Like every request body it is read by one goroutine at a time.
type body struct {
	in      io.ReadCloser
	x       *exchange
	length  int64 // declared; -1 if unknown
	limit   int64
	read    int64
	trailer http.Header
	err     error // what ended the body, repeated to later readers
}

// Read reads from the client.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p)
	b.read += int64(n)
	b.x.event.BytesIn = b.read
	switch {
	case b.read > b.limit:
		n -= int(b.read - b.limit)
		b.err = tooLarge(b.limit)
	case b.length >= 0 && b.read > b.length:
		n -= int(b.read - b.length)
		b.err = &BodyError{http.StatusBadRequest, errBodyLong}
	case err == io.EOF && b.length > b.read:
		b.err = &BodyError{http.StatusBadRequest, errBodyShort}
	case err == io.EOF && len(b.trailer) > maxFields:
		b.err = &BodyError{http.StatusRequestHeaderFieldsTooLarge, errTrailerMany}
	case err == io.EOF:
		b.x.cleanTrailer(b.trailer)
		b.err = io.EOF
	case err != nil:
		b.err = b.explain(err)
	}
	if b.err != nil && b.err != io.EOF {
		b.x.closing = true
	}
	return n, b.err
}

// Close closes the client's body.
func (b *body) Close() error { return b.in.Close() }

func tooLarge(limit int64) error {
	return &BodyError{http.StatusRequestEntityTooLarge, &http.MaxBytesError{Limit: limit}}
}

// explain returns err with the status it has for the client. An error that has one keeps it; reading after Close is the
// handler's mistake and stays as it is.
func (b *body) explain(err error) error {
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return err
	}
	if _, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok {
		return err
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return &BodyError{http.StatusRequestTimeout, err}
	}
	if b.x.Context.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
		return &BodyError{statusClientGone, err}
	}
	return &BodyError{http.StatusBadRequest, err}
}

// wrapBody puts the route's limit around the request's body. It refuses a body that is declared larger at once.
func (x *exchange) wrapBody(r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	x.body = body{in: r.Body, x: x, length: r.ContentLength, limit: limit, trailer: r.Trailer}
	r.Body = &x.body
	return nil
}

// cleanTrailer deletes trailers that a client may not send: those admission deletes from headers, those it would refuse, and
// those that mean something only in a header (RFC 9110, section 6.5.1).
func (x *exchange) cleanTrailer(trailer http.Header) {
	if len(trailer) == 0 {
		return
	}
	var buf [64]byte
	for name, values := range trailer {
		folded, spelling := foldName(&buf, name)
		if spelling > aliasName || classify(folded) != fieldKept || protectedField(name) && name != "Date" {
			delete(trailer, name)
			continue
		}
		for _, v := range values {
			if checkValue(v, false) != nil {
				delete(trailer, name)
				break
			}
		}
	}
	if x.gen.opts.StripHeaders != nil {
		x.gen.opts.StripHeaders(trailer)
	}
}
